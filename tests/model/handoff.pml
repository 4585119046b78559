/* SPDX-License-Identifier: MIT
 *
 * The ordered lane goes from a worker whose tasklet is blocked to a spare, and the
 * tasklet comes back: sched/ordered/handoff.c, the switches of dispatch.c, the loop of
 * worker.c, monitor.c, the ring and the inbox of lane.c.
 *
 * All is the guard's (the GIL) but what lane.h marks as atomic.  A section of it is one
 * step where it stores one word that decides something for who reads without it: idle,
 * watched, the inbox, the permits.  The rest of what the monitor reads are hints, checked
 * again under the guard: it reads them at once, or (HINTS) one after the other, and sees
 * `switching` too late.  The guard is got by anyone who wants it, in any order.
 *
 * blocked(), which asks the kernel, may say yes of everyone who is detached, or (KERNEL) of
 * who is in the OS only: but for order, nothing may rest on it.
 *
 * Left out:
 *   - carriers: each tasklet has its own (one that is put back is taken by the host only,
 *     just as the ring is);
 *   - timers and descriptors, which are work as the inbox is, and the poller, which is
 *     another place to sleep;
 *   - the parker: idle.pml has it; here it is a permit;
 *   - the making of workers: one that is made late is one that begins late;
 *   - the owner's thread: main is a pinned tasklet here;
 *   - time: a look of the monitor that could see nothing new, so that a state in which nobody
 *     can go on is found (timeout).
 *
 * At the end all must have run, but for calls that never return.  Nobody hosts the lane but
 * who has it; no stack is entered while a thread stands on it; a host is not seized while it
 * switches; who is seized is who was seen away; and what was in the ring when a stray came
 * back runs before it.
 *
 *   run: -DBLOCKS=2
 *   run: -DBLOCKS=2 -DTASKLETS=2 -DYIELDS=1 -DHINTS -DOFFERS
 *   run: -DBLOCKS=2 -DPINNED=1
 *   run: -DBLOCKS=2 -DRUNS
 *   run: -DWORKERS=3 -DTASKLETS=4 -DKERNEL -DHOGS=1
 *   run: -DTASKLETS=2 -DSUSPENDS=1 -DHOGS=1 -DKERNEL
 *   run: -DTASKLETS=2 -DSUSPENDS=1 -DHOGS=1 -DFOREIGN
 *   live: -DLTL -DKERNEL
 *   live: -DLTL -DKERNEL -DTASKLETS=2 -DPINNED=1
 *   mutant: -DMUTANT_SWITCHING -DHINTS
 *   mutant: -DMUTANT_OFFER -DOFFERS -DBLOCKS=2
 *   mutant: -DMUTANT_DEPARTURE
 *   mutant: -DMUTANT_ORDER
 *   mutant: -DMUTANT_TURN -DWORKERS=3 -DBLOCKS=2 -DKERNEL
 *   mutant: -DMUTANT_KICK
 *   mutant: -DMUTANT_INBOX -DTASKLETS=2 -DSUSPENDS=1
 *   mutant: -DMUTANT_UNARMED -DTASKLETS=2 -DSUSPENDS=1 -DHOGS=1 -DKERNEL
 *   mutant: -DMUTANT_WATCH -DTASKLETS=2 -DSUSPENDS=1 -DHOGS=1 -DFOREIGN
 *   mutant: -DMUTANT_DEAD -DRUNS
 *   mutant: -DMUTANT_HOME -DPINNED=1
 *   mutant: -DMUTANT_UNPARK -DPINNED=1
 *   mutant: -DMUTANT_UNDEFER -DPINNED=1
 */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef TASKLETS
#define TASKLETS 3
#endif
#ifndef LOOKS
#define LOOKS 2 /* three in the code: it is a matter of patience */
#endif
#ifndef BLOCKS
#define BLOCKS 1 /* calls that block */
#endif
#ifndef YIELDS
#define YIELDS 0
#endif
#ifndef SUSPENDS
#define SUSPENDS 0 /* tasklets that wait for a thread, which has not the guard: sl_inbox_push(); FOREIGN: which takes it */
#endif
#ifndef HOGS
#define HOGS 0 /* of the blocking calls, how many may never return */
#endif
#ifndef PINNED
#define PINNED NOBODY /* the tasklet that only worker 0 may run */
#endif
#ifdef RUNS
#define RUNS_NOT_0 && t != 0
#else
#define RUNS_NOT_0
#endif
#define NOBODY 255
#define MONITOR WORKERS
#define OUTSIDE (WORKERS + 1)

mtype = { NOWHERE, IN_RING, IN_WAIT, STRAY, DEFERRED, IN_INBOX };

byte guard = NOBODY; /* who holds it */

/* sl_olane */
chan ring = [TASKLETS] of { byte }; /* its head is `current` */
chan inbox = [TASKLETS] of { byte };
byte host, turn, strays, idle = NOBODY;
bool watched;

/* sl_opool */
byte seen_turn;

/* sl_oworker */
bool lane[WORKERS], switching[WORKERS], asked[WORKERS], spare[WORKERS], parked[WORKERS];
byte current[WORKERS] = NOBODY, on[WORKERS] = NOBODY; /* NOBODY: its own loop */
chan deferred[WORKERS] = [TASKLETS] of { byte };
bool permit[WORKERS + 1]; /* of its parker */

/* sl_otasklet */
mtype place[TASKLETS] = NOWHERE;
#define MAY_RUN(t, w) ((t) != PINNED || (w) == 0)

/* Not the code's: what the properties are about. */
byte stands[TASKLETS] = NOBODY; /* the worker that stands on its stack */
bool os[WORKERS];               /* in a blocking call */
byte members, owes[TASKLETS];   /* sets: in the ring; who is to run before it, which came back later */
byte seen_who = NOBODY;         /* ran when the monitor looked, in seen_turn */
byte ran, stuck, to_block = BLOCKS, to_yield = YIELDS, to_suspend = SUSPENDS, to_hog = HOGS;
bool floats;                    /* tasklet 0 waits in run() */

#define HAS_WORK (len(ring) > 1 || len(inbox) > 0)
#define BUSY (idle == NOBODY && (HAS_WORK || strays > 0))
/* env->away(), and what look() wants besides.  HINTS: `switching` is seen too late. */
#ifdef HINTS
#define AWAY(w) (BUSY && HAS_WORK && on[w] != NOBODY && guard != w)
#else
#define AWAY(w) (BUSY && HAS_WORK && on[w] != NOBODY && !switching[w] && guard != w)
#endif

#ifdef KERNEL
#define MAY_BE_BLOCKED(w) os[w]
#else
#define MAY_BE_BLOCKED(w) true
#endif

#define TAKE(me) atomic { guard == NOBODY -> guard = me }
#define DROP guard = NOBODY

/* ---- lane.c; each within a step ---- */

inline sl_olane_kick()
{
    if
    :: idle != NOBODY -> permit[idle] = true; idle = NOBODY
    :: else
    fi
}

inline sl_opool_watch()
{
    watched = true;
    permit[MONITOR] = true
}

inline sl_olane_append(x)
{
    assert(place[x] != IN_RING);
    ring!x;
    members = members | (1 << x);
    place[x] = IN_RING;
    /* counted() */
#ifndef MUTANT_KICK
    sl_olane_kick();
#endif
#ifndef MUTANT_WATCH
    if
    :: !watched && HAS_WORK -> sl_opool_watch()
    :: else
    fi
#endif
}

/* Whoever had to wait for `x` need not any more. */
inline forgive(x)
{
    i = 0;
    do
    :: i < TASKLETS -> owes[i] = owes[i] & ~(1 << x); i++
    :: else -> break
    od;
    i = 0
}

inline sl_olane_unlink(x)
{
    ring??eval(x);
    members = members & ~(1 << x);
    place[x] = NOWHERE;
    forgive(x)
}

inline sl_inbox_take()
{
    do
    :: len(inbox) > 0 -> inbox?i; sl_olane_append(i)
    :: else -> break
    od;
    i = 0
}

/* ---- worker.c and handoff.c; each within a step ---- */

inline undefer()
{
    do
    :: len(deferred[me]) > 0 -> deferred[me]?i; sl_olane_append(i)
    :: else -> break
    od;
    i = 0
}

inline give(to)
{
    lane[me] = false;
    lane[to] = true;
    host = to;
    spare[to] = false;
#ifndef MUTANT_UNPARK
    permit[to] = true
#endif
}

/* The head is PINNED, and `me` is not worker 0. */
inline pass_to_home()
{
    if
#ifdef MUTANT_HOME /* whatever its worker does */
    :: give(0)
#else
    :: parked[0] -> give(0)
    :: else -> sl_olane_unlink(PINNED); place[PINNED] = DEFERRED; deferred[0]!PINNED
#endif
    fi
}

inline sl_olane_seize()
{
    asked[me] = false;
    h = host;
    u = current[h];
    if
    :: u == NOBODY || idle != NOBODY || turn != seen_turn || !HAS_WORK
#ifndef MUTANT_SWITCHING
    :: switching[h]
#endif
    :: !os[h] /* refused by blocked() */
    :: u != NOBODY && idle == NOBODY && turn == seen_turn && HAS_WORK &&
#ifndef MUTANT_SWITCHING
       !switching[h] &&
#endif
       MAY_BE_BLOCKED(h) ->
#ifndef HINTS
        assert(u == seen_who); /* it is the one that was found away */
#endif
        assert(!switching[h]);
        if
        :: place[u] == IN_RING -> sl_olane_unlink(u)
        :: else
        fi;
        place[u] = STRAY;
        strays++;
#ifndef MUTANT_TURN /* the next tasklet has a turn of its own */
        turn++;
#endif
        lane[h] = false;
        lane[me] = true;
        host = me
    fi;
    h = 0;
    u = 0
}

/* ---- dispatch.c ---- */

/* `to`: a tasklet or NOBODY, this worker's own stack.  From 3.12 on the swap of thread
 * states drops the guard. */
inline set_state(to)
{
    atomic {
        switching[me] = true;
        on[me] = to;
        current[me] = to;
        DROP
    }
    atomic { guard == NOBODY -> guard = me; switching[me] = false }
}

/* sl_switch_to(): from `t`'s stack or the worker's own to that of `to`. */
inline sl_switch_to(to)
{
    if
    :: t != NOBODY -> assert(stands[t] == me); stands[t] = NOBODY
    :: else
    fi;
    t = to;
    if
    :: t != NOBODY ->
        assert(stands[t] == NOBODY); /* else two threads run on one stack */
        assert(owes[t] == 0);
        forgive(t);
        stands[t] = me
    :: else
    fi
}

proctype worker(byte me)
{
    byte t = NOBODY, to = NOBODY, h, u, i;
    TAKE(me);
loop: /* sl_oworker_loop() */
    do
    :: !lane[me] -> /* sleep_without_lane() */
        atomic {
            parked[me] = true;
#ifndef MUTANT_UNDEFER
            undefer();
#endif
            spare[me] = true;
            DROP
        }
end_spare:
        atomic { permit[me] -> permit[me] = false }
        atomic {
            guard == NOBODY -> guard = me;
            parked[me] = false;
            spare[me] = false;
            if
            :: !lane[me] && asked[me] -> sl_olane_seize()
            :: else
            fi
        }
    :: lane[me] ->
        atomic { /* find_work() */
            assert(host == me);
            undefer();
            if
            :: len(ring) == 0 -> sl_inbox_take()
            :: else
            fi;
            if
            :: len(ring) == 0 && floats && strays == 0 && len(deferred[0]) == 0 -> /* env->idle() */
                floats = false;
                assert(ran + stuck == TASKLETS - 1);
                sl_olane_append(0)
            :: else
            fi
        }
        if
        :: len(ring) == 0 -> /* sleep_with_lane() */
            idle = me;
            if
#ifndef MUTANT_INBOX
            :: len(inbox) > 0 -> idle = NOBODY
#endif
            :: else ->
                DROP;
end_idle:
                atomic { permit[me] -> permit[me] = false }
                atomic {
                    guard == NOBODY -> guard = me;
                    if
                    :: lane[me] -> idle = NOBODY
                    :: else
                    fi
                }
            fi
        :: len(ring) > 0 ->
            ring?<to>;
            if
            :: !MAY_RUN(to, me) -> atomic { pass_to_home(); to = NOBODY }
            :: else -> /* sl_enter_current() */
                set_state(to);
                atomic { sl_switch_to(to); to = NOBODY; goto running }
            fi
        fi
    od;
running: /* t runs here, as the host's tasklet or as a stray */
    atomic {
        assert(guard == me && current[me] == t && stands[t] == me && MAY_RUN(t, me));
        assert((lane[me] && host == me && place[t] == IN_RING) || (!lane[me] && host != me && place[t] == STRAY))
    }
    if
    :: atomic { to_block > 0 -> to_block--; os[me] = true; DROP }
        if
        :: true
        :: atomic { to_hog > 0 -> to_hog--; stuck++ };
end_stuck:
            false
        fi;
        os[me] = false;
        TAKE(me);
        goto running
    :: !lane[me] -> /* a scheduling point: sl_rejoin() */
        atomic {
#ifdef MUTANT_DEPARTURE /* in the ring before its stack has been left */
            strays--;
            sl_olane_append(t);
#endif
            skip
        }
        set_state(NOBODY);
        atomic {
            to = t;
            sl_switch_to(NOBODY);
#ifndef MUTANT_DEPARTURE
            strays--; /* departed() */
            owes[to] = members;
            if
            :: len(ring) > 0 -> ring?<u>; owes[to] = owes[to] & ~(1 << u); u = 0
            :: else
            fi;
#ifdef MUTANT_ORDER /* next, not last */
            u = len(ring);
            if
            :: u > 1 -> ring?i; ring!i
            :: else
            fi;
#endif
            sl_olane_append(to);
#ifdef MUTANT_ORDER
            do
            :: u > 1 -> ring?i; ring!i; u--
            :: else -> break
            od;
#endif
#endif
            u = 0;
            i = 0;
            to = NOBODY;
            goto loop
        }
    :: atomic { lane[me] && to_yield > 0 -> to_yield--; ring?i; ring!i; i = 0; goto dispatch }
    :: atomic { lane[me] && to_suspend > 0 -> to_suspend--; sl_olane_unlink(t); place[t] = IN_WAIT; goto dispatch }
#ifdef RUNS
    :: atomic { lane[me] && t == 0 && !floats && ran < TASKLETS - 1 -> sl_olane_unlink(t); floats = true; goto dispatch }
    :: atomic { lane[me] && (t != 0 || ran == TASKLETS - 1) -> sl_olane_unlink(t); ran++; goto dispatch }
#else
    :: atomic { lane[me] -> sl_olane_unlink(t); ran++; goto dispatch }
#endif
    :: !lane[me] RUNS_NOT_0 -> /* it ends as a stray: sl_leave_dead() */
        atomic { place[t] = NOWHERE; ran++ }
        set_state(NOBODY);
        atomic {
            sl_switch_to(NOBODY);
            strays--;
#ifndef MUTANT_DEAD
            sl_olane_kick(); /* the host may have waited for this one alone */
#endif
            goto loop
        }
    fi;
dispatch: /* sl_dispatch(), sl_leave_dead() */
    turn++;
    if
    :: atomic { true -> sl_inbox_take() } /* look_around() */
#ifdef OFFERS
    :: strays > 0 ->
        atomic {
#ifndef MUTANT_OFFER
            switching[me] = true;
#endif
            DROP
        }
        atomic { guard == NOBODY -> guard = me; switching[me] = false }
#endif
    :: true
    fi;
    atomic { /* choose() */
        to = NOBODY;
        if
        :: len(ring) > 0 ->
            ring?<to>;
            if
            :: !lane[me] || !MAY_RUN(to, me) -> to = NOBODY
            :: else
            fi
        :: else
        fi;
        if
        :: to == t -> to = NOBODY; goto running
        :: else
        fi
    }
    set_state(to);
    atomic {
        assert(lane[me]); /* nobody has seized it meanwhile */
        sl_switch_to(to);
        to = NOBODY;
        if
        :: t == NOBODY -> goto loop
        :: else -> goto running
        fi
    }
}

/* ---- monitor.c ---- */

/* To ask it once more before it has woken changes nothing. */
#define ASKABLE(s) (spare[s] && !(asked[s] && permit[s]))

#if WORKERS > 2
#define ASKABLE_2 ASKABLE(2)
#else
#define ASKABLE_2 false
#endif

#ifdef HINTS
#define LOOK
#else
#define LOOK atomic
#endif

proctype monitor()
{
    byte v_host, v_turn, last_host = NOBODY, last_turn, looks, who, s;
    bool away;
    do
    :: LOOK { /* look() */
            atomic { v_host = host; v_turn = turn }
            atomic {
                away = AWAY(v_host);
                who = current[v_host];
                looks = (!away -> 0 : (v_host == last_host && v_turn == last_turn -> looks + 1 : 1));
                last_host = (away -> v_host : NOBODY);
                last_turn = (away -> v_turn : 0);
                if
                :: looks == LOOKS ->
                    looks--;
                    if
                    :: MAY_BE_BLOCKED(v_host) -> away = false; goto ask_for_handoff /* gone() */
                    :: !os[v_host]
                    fi
                :: !away && BUSY -> goto watch
                :: !away && !BUSY -> goto sleep_unarmed
                :: else
                fi
            }
        }
next:
        atomic { v_host = 0; v_turn = 0; who = 0; away = false }
    od;
ask_for_handoff:
    LOOK {
        atomic { seen_turn = v_turn; seen_who = who }
        atomic {
            if /* pool->spare: any */
            :: ASKABLE(0) -> s = 0
            :: ASKABLE(1) -> s = 1
#if WORKERS > 2
            :: ASKABLE(2) -> s = 2
#endif
            :: else -> goto nobody_to_ask
            fi
        }
        asked[s] = true;
        atomic { permit[s] = true; s = 0; goto next }
    }
nobody_to_ask:
    atomic { v_host = 0; v_turn = 0; who = 0 }
end_asked:
    atomic { (ASKABLE(0) || ASKABLE(1) || ASKABLE_2 || !AWAY(host) || host != last_host || turn != last_turn) -> goto next }
watch: /* nothing to be asked for */
end_busy:
    atomic { (AWAY(host) || !BUSY) -> goto next }
sleep_unarmed:
    TAKE(MONITOR);
    if
    :: BUSY -> atomic { DROP; goto next }
    :: !BUSY -> watched = false
    fi;
#ifndef MUTANT_UNARMED
    if
    :: len(inbox) > 0 ->
        watched = true;
        DROP;
end_inbox:
        atomic { (BUSY || len(inbox) == 0) -> goto next }
    :: else
    fi;
#endif
    DROP;
    do
    :: atomic { watched -> last_host = NOBODY; last_turn = 0; goto next }
    :: else ->
end_unarmed:
        atomic { permit[MONITOR] -> permit[MONITOR] = false }
    od
}

/* A thread without the guard wakes one that waits: sl_inbox_push(). */
proctype outside()
{
    byte t, w;
end_waits:
    atomic {
        if
        :: place[0] == IN_WAIT -> t = 0
        :: place[1] == IN_WAIT -> t = 1
#if TASKLETS > 2
        :: place[2] == IN_WAIT -> t = 2
#endif
        fi;
        place[t] = IN_INBOX
    }
#ifdef FOREIGN
    TAKE(OUTSIDE);
    atomic { place[t] = IN_WAIT; sl_olane_append(t); DROP; goto over }
#endif
    inbox!t;
    atomic { w = idle; idle = NOBODY }
    if
    :: w != NOBODY -> permit[w] = true
    :: else
    fi;
    if
    :: !watched -> watched = true; permit[MONITOR] = true
    :: else
    fi
over:
    skip
}

proctype at_the_end()
{
    timeout;
    assert(ran + stuck == TASKLETS && guard == NOBODY)
}

init {
    byte i;
    atomic {
        lane[0] = true;
        do
        :: i < TASKLETS -> place[i] = IN_RING; ring!i; members = members | (1 << i); i++
        :: else -> break
        od;
        watched = true;
        i = 0;
        do
        :: i < WORKERS -> run worker(i); i++
        :: else -> break
        od;
        run monitor();
        i = 0;
        do
        :: i < SUSPENDS -> run outside(); i++
        :: else -> break
        od;
        run at_the_end();
        i = 0
    }
}

#ifdef LTL
ltl all_run { <>(ran == TASKLETS) }
#endif
