/* SPDX-License-Identifier: MIT
 *
 * Settings from the environment: read once, on import; a bad value fails the
 * import with the variable, the value and what is allowed.
 */
#include "pystackless.h"

#include <errno.h>
#include <stdlib.h>

#include "../core/cpus.h"

/* A whole number with an optional K, M or G; -1 if it is none. */
static long long parse_number(const char *text, bool units)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text)
        return -1;
    int shift = 0;
    if (units && *end) {
        char unit = *end++;
        shift = unit == 'k' || unit == 'K' ? 10 : unit == 'm' || unit == 'M' ? 20 : unit == 'g' || unit == 'G' ? 30 : -1;
    }
    if (*end || shift < 0 || v < 0 || v > (1LL << 40 >> shift))
        return -1;
    return v << shift;
}

/* The value of `name`, or `unset` when it is not set or empty; -1 with an
 * exception. */
static long long read_setting(const char *name, long long least, long long most, long long unset, bool units)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return unset;
    long long v = parse_number(text, units);
    if (v < least || v > most) {
        PyErr_Format(PyExc_ValueError, "environment variable %s is '%s'; it must be a whole number from %lld to %lld%s",
                     name, text, least, most, units ? " (bytes; K, M or G may follow)" : "");
        return -1;
    }
    return v;
}

int config_read(void)
{
    long long threads = read_setting("STACKLESS_THREADS", 1, CONFIG_THREADS_MAX, 0, false);
    if (threads < 0)
        return -1;
    long long size = read_setting("STACKLESS_STACK_SIZE", (long long)SL_STACK_MIN, (long long)SL_STACK_MAX,
                                  (long long)COMPAT_STACK_DEFAULT, true);
    if (size < 0)
        return -1;
    long long slice = read_setting("STACKLESS_TIMESLICE", 0, CONFIG_TIMESLICE_MAX, 0, false);
    if (slice < 0)
        return -1;
    fe.timeslice = (int)slice;
    fe.threads = (int)threads;
    fe.stack_size = (size_t)size;
    return 0;
}

static int python_cpu_count(void)
{
    const char *text = getenv("PYTHON_CPU_COUNT");
    long long v = text && *text ? parse_number(text, false) : -1;
    return v >= 1 && v <= CONFIG_THREADS_MAX ? (int)v : 0;
}

int config_threads(void)
{
    if (fe.threads)
        return fe.threads;
    int cpus = python_cpu_count();
    int threads = (cpus ? cpus : sl_cpu_count()) + 4;
    return threads < 32 ? threads : 32;
}

static PyObject *row(const char *name, PyObject *value, const char *origin)
{
    return value ? Py_BuildValue("(sNs)", name, value, origin) : NULL;
}

static bool set_in_environment(const char *name)
{
    const char *text = getenv(name);
    return text && *text;
}

PyObject *config_describe(void)
{
    const char *threads = fe.threads ? "environment variable STACKLESS_THREADS"
                          : python_cpu_count() ? "default: min(32, CPUs + 4), CPUs from PYTHON_CPU_COUNT"
                                               : "default: min(32, CPUs + 4)";
    const char *size = set_in_environment("STACKLESS_STACK_SIZE") ? "environment variable STACKLESS_STACK_SIZE"
                                                                  : "default for this Python version";
    sl_cpu_info cpus;
    sl_cpu_describe(&cpus);
    const char *slice = !set_in_environment("STACKLESS_TIMESLICE") ? "default: tasklets are not interrupted"
                        : fe.threads == 1 ? "environment variable STACKLESS_TIMESLICE; without effect, as STACKLESS_THREADS is 1"
                                          : "environment variable STACKLESS_TIMESLICE";
    PyObject *list = PyList_New(0);
    PyObject *rows[] = {
        row("threads", PyLong_FromLong(config_threads()), threads),
        row("stack_size", PyLong_FromSize_t(fe.stack_size), size),
        row("timeslice", PyLong_FromLong(fe.timeslice), slice),
        row("cpus_allowed", PyLong_FromLong(cpus.allowed), "the machine: affinity mask"),
        row("cpus_quota", cpus.quota ? PyLong_FromLong(cpus.quota) : Py_NewRef(Py_None), "the machine: cgroup quota"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!list || !rows[i] || PyList_Append(list, rows[i]) < 0)
            Py_CLEAR(list);
        Py_XDECREF(rows[i]);
    }
    return list;
}
