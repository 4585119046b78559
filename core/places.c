/* SPDX-License-Identifier: MIT
 *
 * The places of places.h.
 */
#include "places.h"

#include <hwloc.h>
#include <stdlib.h>

#include "stackless/error.h"

struct sl_places {
    hwloc_topology_t topology;
    hwloc_bitmap_t allowed;  /* this process's */
    unsigned count;
    hwloc_bitmap_t *sets;    /* [count] */
    hwloc_obj_t *objects;    /* [count]; the topology's: core, cache or machine */
};

static hwloc_topology_t load(void)
{
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) != 0)
        return NULL;
    hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(t, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(t, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    hwloc_topology_set_type_filter(t, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE); /* who share a memory */
    hwloc_topology_set_cache_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(t) == 0)
        return t;
    hwloc_topology_destroy(t);
    return NULL;
}

/* Of the core and of everything around it that is a cache, the largest; or else the machine. */
static hwloc_obj_t around(sl_places *p, hwloc_obj_t core, enum sl_places_kind kind)
{
    hwloc_obj_t place = kind == SL_PLACES_CORES ? core : NULL;
    for (hwloc_obj_t o = core->parent; o && kind == SL_PLACES_CACHES; o = o->parent)
        if (hwloc_obj_type_is_cache(o->type))
            place = o;
    return place ? place : hwloc_get_root_obj(p->topology);
}

static int add_places(sl_places *p, enum sl_places_kind kind)
{
    int depth = hwloc_get_type_depth(p->topology, HWLOC_OBJ_CORE);
    if (depth < 0) /* a machine that does not say */
        depth = hwloc_get_type_depth(p->topology, HWLOC_OBJ_PU);
    unsigned n = hwloc_get_nbobjs_by_depth(p->topology, depth);
    p->sets = calloc(n ? n : 1, sizeof *p->sets);
    p->objects = calloc(n ? n : 1, sizeof(hwloc_obj_t));
    if (!p->sets || !p->objects)
        return SL_ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        hwloc_obj_t core = hwloc_get_obj_by_depth(p->topology, depth, i);
        if (!hwloc_bitmap_intersects(core->cpuset, p->allowed))
            continue;
        hwloc_obj_t place = around(p, core, kind);
        hwloc_bitmap_t set = hwloc_bitmap_dup(place->cpuset);
        if (!set)
            return SL_ENOMEM;
        hwloc_bitmap_and(set, set, p->allowed);
        p->objects[p->count] = place;
        p->sets[p->count++] = set;
    }
    return p->count ? 0 : SL_ENOTSUP;
}

int sl_places_create(sl_places **out, enum sl_places_kind kind)
{
    *out = NULL;
    sl_places *p = calloc(1, sizeof *p);
    if (!p)
        return SL_ENOMEM;
    int rc = SL_ENOTSUP;
    if ((p->topology = load()) != NULL) {
        rc = SL_ENOMEM;
        if ((p->allowed = hwloc_bitmap_alloc()) != NULL) {
            if (hwloc_get_cpubind(p->topology, p->allowed, HWLOC_CPUBIND_THREAD) != 0)
                hwloc_bitmap_fill(p->allowed);
            hwloc_bitmap_and(p->allowed, p->allowed, hwloc_topology_get_allowed_cpuset(p->topology));
            rc = add_places(p, kind);
        }
    }
    if (rc < 0) {
        sl_places_destroy(p);
        return rc;
    }
    *out = p;
    return 0;
}

void sl_places_destroy(sl_places *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->count; i++)
        hwloc_bitmap_free(p->sets[i]);
    free(p->sets);
    free(p->objects);
    hwloc_bitmap_free(p->allowed);
    if (p->topology)
        hwloc_topology_destroy(p->topology);
    free(p);
}

unsigned sl_places_count(const sl_places *p)
{
    return p->count;
}

unsigned sl_places_distance(const sl_places *p, unsigned i, unsigned j)
{
    hwloc_obj_t a = p->objects[i % p->count], b = p->objects[j % p->count];
    if (a == b)
        return 0;
    unsigned distance = (unsigned)(a->depth - hwloc_get_common_ancestor_obj(p->topology, a, b)->depth);
    return distance < SL_PLACES_FAR ? distance : SL_PLACES_FAR - 1;
}

bool sl_place_has(const sl_places *p, unsigned i, unsigned cpu)
{
    return hwloc_bitmap_isset(p->sets[i % p->count], cpu);
}

static int bind(const sl_places *p, hwloc_const_cpuset_t set)
{
    return hwloc_set_cpubind(p->topology, set, HWLOC_CPUBIND_THREAD) == 0 ? 0 : SL_ENOTSUP;
}

int sl_place_bind(const sl_places *p, unsigned i)
{
    return bind(p, p->sets[i % p->count]);
}

int sl_place_unbind(const sl_places *p)
{
    return bind(p, p->allowed);
}
