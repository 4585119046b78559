/* SPDX-License-Identifier: MIT
 *
 * Not a test: mistakes made on purpose on a tasklet's stack, for tools/check to see that
 * Valgrind finds them there.  mistakes freed|undefined|stack|leaked; harmless by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "../../core/check.h"
#include "stackless/pool.h"

/* The compiler is not to know what becomes of it, else it warns, or leaves it out. */
static void *hide(void *p)
{
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

static __attribute__((noinline)) void mistake_in_tasklet(void *what)
{
    char local[64], *heap = hide(malloc(sizeof local)), *read = hide(strcmp(what, "stack") ? heap : local);
    CHECK(heap != NULL);
    if (!strcmp(what, "freed") || !strcmp(what, "leaked"))
        memset(heap, 1, sizeof local);
    sl_yield(); /* away from this stack, and back */
    if (!strcmp(what, "freed"))
        free(heap);
    if (read[8])
        hide(read);
    if (!strcmp(what, "undefined") || !strcmp(what, "stack"))
        free(heap);
}

static void nothing(void *unused)
{
    (void)unused;
}

int main(int argc, char **argv)
{
    sl_pool *pool;
    sl_pool_config config = {.lanes = 1, .threads = 1};
    CHECK_EQ(argc, 2);
    CHECK_EQ(sl_pool_create(&pool, &config), 0);
    CHECK_EQ(sl_go(pool, NULL, mistake_in_tasklet, argv[1]), 0);
    CHECK_EQ(sl_go(pool, NULL, nothing, NULL), 0);
    CHECK_EQ(sl_pool_wait(pool), 0);
    CHECK_EQ(sl_pool_destroy(pool), 0);
    return 0;
}
