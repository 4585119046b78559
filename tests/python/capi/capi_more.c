/* SPDX-License-Identifier: MIT
 *
 * The second file of the extension module: what the first has imported is there for it too.
 */
#include <stackless/python.h>

PyObject *current_by_second_file(void);
PyObject *current_by_second_file(void)
{
    return PyStackless_GetCurrent();
}
