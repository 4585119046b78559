/* SPDX-License-Identifier: MIT
 *
 * Park and wake with a last look: sched/native/idle.c, the searching of worker.c and steal.c, the
 * blocking calls of blocking.c, and the parker of core/park.c.
 *
 * Each access to a shared word is a step of its own; names are the code's.  A section
 * of pool->lock is one step where it stores one word that others read without
 * the lock (idle_lanes, global_count, wanting), since all else in it is the lock's; the
 * lock itself is then not needed.  Left out: slot and fresh ones (they are the host's, and wake
 * nobody), the retiring of lanes, the poller, the monitor.
 *
 * A tasklet is a number in a ring, in the global list or in an inbox.  At the end (timeout:
 * nobody can go on) all must have run, once.
 * A tasklet that never comes back (HOGS) keeps its worker; then nothing may lie in a ring
 * or the list while a lane and a worker rest.
 *
 *   run: -DLANES=1 -DOUTSIDE=3
 *   run: -DSPAWNS=1 -DHOGS=1
 *   run: -DBLOCKS=1 -DHOGS=1
 *   run: -DWORKERS=1 -DLANES=1 -DOUTSIDE=3 -DBLOCKS=1
 *   run: -DWORKERS=3 -DOUTSIDE=1 -DSPAWNS=1 -DBLOCKS=1 -DHOGS=1
 *   run: -DPINNED=2 -DOUTSIDE=1
 *   run: -DLANES=1 -DPINNED=3 -DOUTSIDE=1
 *   run: -DPINNED=1 -DOUTSIDE=1 -DBLOCKS=1 -DHOGS=1
 *   live: -DLTL
 *   mutant: -DMUTANT_LAST_LOOK
 *   mutant: -DMUTANT_FUTEX
 *   mutant: -DMUTANT_WAKE_ONE -DLANES=1 -DOUTSIDE=3
 *   mutant: -DMUTANT_LAST_SEARCHER -DSPAWNS=1 -DHOGS=1
 *   mutant: -DMUTANT_BLOCKING -DLANES=1 -DBLOCKS=1 -DHOGS=1
 *   mutant: -DMUTANT_WANTS -DLANES=1 -DPINNED=3 -DOUTSIDE=1
 */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef LANES
#define LANES 2
#endif
#ifndef OUTSIDE
#define OUTSIDE 2 /* threads that push one tasklet each */
#endif
#ifndef SPAWNS
#define SPAWNS 0 /* tasklets that those start, on their lane */
#endif
#ifndef BLOCKS
#define BLOCKS 0 /* of them, how many announce a blocking call */
#endif
#ifndef PINNED
#define PINNED 0 /* threads that wake one pinned to worker 0 each */
#endif
#ifndef HOGS
#define HOGS 0 /* of them, how many may never come to an end */
#endif
#define TOTAL (OUTSIDE + SPAWNS + PINNED)
#define NOBODY 255

byte ring[LANES];
bool attention[LANES];
byte host[LANES] = NOBODY;     /* sl_lane.host */
byte lane[WORKERS] = NOBODY;   /* sl_worker.lane */
bool spare[WORKERS], wants[WORKERS], blocked[WORKERS], searches[WORKERS];
byte inbox[WORKERS];
byte idle_lanes, searching, global_count, wanting;

/* sl_parker.word, and the kernel's list of sleepers */
#define EMPTY 0
#define PARKED 1
#define NOTIFIED 2
byte word[WORKERS];
bool asleep[WORKERS];

/* Not the code's. */
byte ran, to_spawn = SPAWNS, to_block = BLOCKS, to_hog = HOGS, stuck;

/* ---- core/park.c ---- */

inline sl_unpark(w)
{
    atomic { old = word[w]; word[w] = NOTIFIED }
    if
    :: old == PARKED -> asleep[w] = false
    :: else
    fi;
    old = 0
}

inline sl_park(w)
{
    atomic {
        got = (word[w] == NOTIFIED);
        if
        :: got -> word[w] = EMPTY
        :: else
        fi
    }
    if
    :: got
    :: else ->
        atomic {
            got = (word[w] != EMPTY);
            if
            :: got
            :: else -> word[w] = PARKED
            fi
        }
        if
        :: got -> word[w] = EMPTY /* a permit came between the two */
        :: else
        fi;
        do
        :: got -> break
        :: else ->
            /* sl_futex_wait(): the kernel compares once more */
#ifdef MUTANT_FUTEX
            asleep[w] = true;
#else
            atomic {
                if
                :: word[w] == PARKED -> asleep[w] = true
                :: else
                fi
            }
#endif
end_asleep:
            !asleep[w];
            atomic {
                got = (word[w] == NOTIFIED);
                if
                :: got -> word[w] = EMPTY
                :: else
                fi
            }
        od
    fi;
    got = false
}

/* ---- idle.c ---- */

/* sl_host(), sl_lane_take_idle(), sl_lane_rest(): in a section of the lock. */
inline sl_host(w)
{
    l = 0;
    do
    :: host[l] != NOBODY -> l++
    :: else -> break
    od;
    assert(lane[w] == NOBODY);
    host[l] = w;
    lane[w] = l;
    idle_lanes--;
    spare[w] = false;
    if
    :: wants[w] -> wants[w] = false; wanting--
    :: else
    fi;
    l = 0
}

inline sl_find_spare(w)
{
    w = 0;
    do
    :: w < WORKERS && !spare[w] -> w++
    :: else -> break
    od;
    w = (w == WORKERS -> NOBODY : w)
}

inline sl_any_work(yes)
{
    yes = (global_count > 0);
    i = 0;
    do
    :: !yes && i < LANES -> yes = (ring[i] > 0); i++
    :: else -> break
    od;
    i = 0
}

/* sl_offer_work(), sl_wake_one(), sl_wake_worker().  Its load of `searching` is left out:
 * what it shows the CAS shows as well. */
inline sl_offer_work()
{
    if
    :: idle_lanes > 0 ->
        atomic {
            got = (searching == 0);
            if
            :: got -> searching = 1
            :: else
            fi
        }
        if
        :: got ->
            atomic { /* section */
                w = NOBODY;
                if
                :: idle_lanes > 0 -> sl_find_spare(w)
                :: else
                fi;
                if
                :: w != NOBODY -> sl_host(w); searches[w] = true
                :: else ->
#ifndef MUTANT_WAKE_ONE
                    searching--
#endif
                fi
            }
            if
            :: w != NOBODY -> sl_unpark(w)
            :: else ->
#ifdef MUTANT_WAKE_ONE /* after the lock: who relied on this search may have been the last to look */
                searching--
#endif
            fi
        :: else
        fi
    :: else
    fi;
    atomic { w = 0; got = false }
}

/* Section: a lane for who wants one, or it rests.  `w` is to be woken, or NOBODY. */
inline sl_give_up_lane()
{
    l = lane[me];
    lane[me] = NOBODY;
    host[l] = NOBODY;
    idle_lanes++;
    leaves = false;
    w = 0;
    do
    :: w < WORKERS && !(wants[w] && spare[w]) -> w++
    :: else -> break
    od;
    if
    :: w == WORKERS -> w = NOBODY
    :: else -> sl_host(w)
    fi;
    l = 0
}

inline sl_call_home(to)
{
    atomic { /* section */
        w = NOBODY;
        if
        :: lane[to] != NOBODY -> attention[lane[to]] = true
#ifdef MUTANT_WANTS /* it may want a lane from before, and nobody look */
        :: lane[to] == NOBODY && !blocked[to] && !wants[to] ->
#else
        :: lane[to] == NOBODY && !blocked[to] ->
#endif
            if
            :: spare[to] && idle_lanes > 0 -> w = to; sl_host(w)
            :: else ->
                if
                :: !wants[to] -> wants[to] = true; wanting++
                :: else
                fi;
                i = 0;
                do
                :: i < LANES -> attention[i] = true; i++
                :: else -> break
                od;
                i = 0
            fi
        :: else
        fi
    }
    if
    :: w != NOBODY -> sl_unpark(w)
    :: else
    fi;
    w = 0
}

/* ends with `idles` false where the worker goes on without having slept */
inline sl_go_idle()
{
    if
    :: lane[me] != NOBODY && leaves && wanting == 0 -> leaves = false
    :: else ->
        atomic { /* let_go(): section */
            w = NOBODY;
            if
            :: lane[me] != NOBODY -> sl_give_up_lane()
            :: else
            fi;
            got = searches[me];
            searches[me] = false;
            spare[me] = true
        }
        if
        :: got -> searching--
        :: else
        fi;
        if
        :: w != NOBODY -> sl_unpark(w)
        :: else
        fi;
        w = 0;
#ifdef MUTANT_LAST_LOOK
        found = false;
#else
        sl_any_work(found);
        found = found || inbox[me] > 0;
#endif
        if
        :: found ->
            atomic { /* sl_get_lane(): section */
                if
                :: lane[me] == NOBODY && idle_lanes > 0 -> sl_host(me)
                :: else
                fi;
                found = (lane[me] != NOBODY)
            }
        :: else
        fi;
        if
        :: found
        :: else ->
            if
            :: inbox[me] > 0 -> sl_call_home(me)
            :: else
            fi;
            sl_park(me)
        fi;
        atomic { spare[me] = false; found = false } /* get_up(): section */
    fi
}

/* ---- worker.c ---- */

inline sl_global_pop()
{
    if
    :: global_count > 0 ->
        atomic { /* section */
            w = global_count / LANES + 1;
            w = (w > global_count -> global_count : w);
            global_count = global_count - w;
            found = (w > 0)
        }
        if
        :: w > 1 -> ring[lane[me]] = ring[lane[me]] + w - 1
        :: else
        fi;
        w = 0
    :: else
    fi
}

inline steal()
{
    if
    :: !searches[me] ->
        w = LANES - idle_lanes;
        if
        :: 2 * searching >= w
        :: else -> searches[me] = true; searching++
        fi;
        w = 0
    :: else
    fi;
    i = (searches[me] -> 0 : LANES);
    do
    :: !found && i < LANES ->
        if
        :: i != lane[me] ->
            atomic {
                found = (ring[i] > 0);
                if
                :: found -> ring[i]--
                :: else
                fi
            }
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline find()
{
    atomic {
        found = (inbox[me] > 0);
        if
        :: found -> inbox[me]--
        :: else
        fi
    }
    if
    :: !found && attention[lane[me]] ->
        attention[lane[me]] = false;
        leaves = (wanting > 0)
    :: else
    fi;
    if
    :: !found && !leaves ->
        atomic {
            found = (ring[lane[me]] > 0);
            if
            :: found -> ring[lane[me]]--
            :: else
            fi
        }
        if
        :: !found -> sl_global_pop()
        :: else
        fi;
        if
        :: !found && LANES > 1 -> steal()
        :: else
        fi
    :: else
    fi
}

inline stop_searching()
{
    searches[me] = false;
    atomic { searching--; yes = (searching == 0) }
#ifdef MUTANT_LAST_SEARCHER /* it does not look whether there is more */
    yes = false;
#endif
    if
    :: yes ->
        sl_any_work(yes);
        if
        :: yes -> yes = false; sl_offer_work()
        :: else
        fi
    :: else
    fi
}

/* ---- blocking.c ---- */

inline sl_blocking_begin()
{
    yes = (ring[lane[me]] > 0 || global_count > 0);
    atomic { /* section */
        blocked[me] = true;
        w = NOBODY;
        if
        :: yes && wanting == 0 -> sl_find_spare(w)
        :: else
        fi;
        if
        :: w != NOBODY ->
            l = lane[me];
            lane[me] = NOBODY;
            host[l] = NOBODY;
            idle_lanes++;
            sl_host(w)
        :: else -> sl_give_up_lane()
        fi
    }
    if
    :: w != NOBODY -> sl_unpark(w)
    :: else ->
#ifdef MUTANT_BLOCKING /* does not look once more when its lane has gone to rest */
        yes = false;
#else
        sl_any_work(yes);
#endif
        if
        :: yes -> sl_offer_work()
        :: else
        fi
    fi;
    atomic { w = 0; yes = false }
}

/* The tasklet goes on elsewhere: `yes`. */
inline sl_blocking_end()
{
    atomic { /* section */
        blocked[me] = false;
        if
        :: idle_lanes > 0 -> sl_host(me); attention[lane[me]] = true
        :: else -> yes = true
        fi
    }
    if
    :: yes -> global_count++; sl_offer_work()
    :: else
    fi
}

/* Computes, or blocks, and never comes back; or does. */
inline hog()
{
    if
    :: atomic { to_hog > 0 -> to_hog--; stuck++ };
end_stuck:
        false
    :: true
    fi
}

proctype worker(byte me)
{
    byte i, l, w, old;
    bool got, yes, leaves, found;
end_first:
    atomic { !asleep[me] -> word[me] = EMPTY; spare[me] = false }
    do
    :: if
        :: lane[me] != NOBODY -> find()
        :: else
        fi;
        if
        :: !found -> sl_go_idle()
        :: else ->
            found = false;
            if
            :: searches[me] -> stop_searching()
            :: else
            fi;
            if
            :: atomic { to_spawn > 0 -> to_spawn-- };
                ring[lane[me]]++;
                sl_offer_work()
            :: else
            fi;
            if
            :: atomic { to_block > 0 -> to_block-- };
                sl_blocking_begin();
                hog();
                sl_blocking_end()
            :: else -> hog()
            fi;
            if
            :: yes -> yes = false
            :: else -> ran++
            fi
        fi
    od
}

/* sl_ready() from a thread outside: push_outside() */
proctype outside()
{
    byte i, l, w, old;
    bool got;
    global_count++; /* sl_global_push(): section */
    sl_offer_work()
}

#if PINNED
/* push_inbox() */
proctype waker()
{
    byte i, l, w, old;
    inbox[0]++;
    sl_call_home(0)
}
#endif

proctype at_the_end()
{
    byte i;
    bool rests, work;
    timeout;
    d_step {
        work = (global_count > 0);
        do
        :: i < LANES -> work = (work || ring[i] > 0); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < WORKERS -> rests = (rests || spare[i]); i++
        :: else -> break
        od;
        assert(searching == 0);
        if
        :: stuck == 0 -> assert(ran == TOTAL && !work && idle_lanes == LANES)
        :: else -> assert(!work || !rests || idle_lanes == 0) /* else: a lost wake-up */
        fi
    }
}

init {
    byte i;
    atomic {
        idle_lanes = LANES;
        do
        :: i < WORKERS ->
            spare[i] = true; /* all sleep */
            word[i] = PARKED;
            asleep[i] = true;
            run worker(i);
            i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < OUTSIDE -> run outside(); i++
        :: else -> break
        od;
#if PINNED
        i = 0;
        do
        :: i < PINNED -> run waker(); i++
        :: else -> break
        od;
#endif
        run at_the_end();
        i = 0
    }
}

/* Not only that nobody sleeps beside work: nobody searches for ever either. */
#ifdef LTL
ltl all_run { <>(ran == TOTAL) }
#endif
