/* SPDX-License-Identifier: MIT
 *
 * Places: sets of processors that a thread may be bound to, one for each core of this
 * process, or for each core the set that shares its last-level cache.  By
 * hwloc.  What it is not for: deciding who is bound (sched/native), counting (cpus.h).
 */
#ifndef SL_CORE_PLACES_H
#define SL_CORE_PLACES_H

#include <stdbool.h>

typedef struct sl_places sl_places; /* fixed once made: any thread may use it */

enum sl_places_kind { SL_PLACES_CORES, SL_PLACES_CACHES };

/* Loads the topology (milliseconds).  SL_ENOMEM; SL_ENOTSUP: no topology is to be had. */
int sl_places_create(sl_places **out, enum sl_places_kind kind);
void sl_places_destroy(sl_places *p); /* may be NULL */

/* At least 1: the cores this process may use.  Neighbours share more than others. */
unsigned sl_places_count(const sl_places *p);

/* How many levels of the machine's tree (caches, memories, packages) are not shared by two
 * places: 0 if they are the same.  Only for comparing; less than SL_PLACES_FAR. */
enum { SL_PLACES_FAR = 16 };
unsigned sl_places_distance(const sl_places *p, unsigned i, unsigned j);

/* Is processor `cpu` (the system's number) in place `i`, modulo the count? */
bool sl_place_has(const sl_places *p, unsigned i, unsigned cpu);

/* Binds the calling thread to place `i`, modulo the count; or to all places.  The kernel
 * may refuse, which changes nothing: SL_ENOTSUP. */
int sl_place_bind(const sl_places *p, unsigned i);
int sl_place_unbind(const sl_places *p);

#endif
