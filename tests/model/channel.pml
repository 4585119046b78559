/* SPDX-License-Identifier: MIT
 *
 * The ring channel with waiters, cancel, timeout and close: sched/native/chan_ring.c,
 * the waiters of sched/rendezvous.c, and sl_wait_park(), sl_wait_resume() and
 * sl_cancel_one() of sched/native/wait.c.
 *
 * Each access to a shared word is a step of its own; names are the code's.  Left out:
 *   - tail_guess, head_guess: a guess is a load of the word some time ago, and a process
 *     may be held up between a load and what follows it anyway;
 *   - sl_spin_once(): who spins waits until a word that he has read changes (so that a
 *     spin without end is a deadlock here, and is found);
 *   - try, select, batches: they take the same steps, or fewer.
 *
 * `fifo` is what the channel means: a send is put there, and a receive taken, at the
 * step that chan_ring.c calls its linearization.  Each receive must get what is taken
 * there at that step, so a message that is lost, doubled or overtaken is an error.
 * At the end (timeout: nobody can go on) nobody may wait who should not.
 *
 *   run: -DCLOSES=1
 *   run: -DCANCELS=1 -DCLOSES=1 -DRECEIVERS=1
 *   run: -DCANCELS=1 -DCLOSES=1 -DSENDERS=1
 *   run: -DCANCELS=1 -DTIMERS=1 -DSENDERS=1
 *   run: -DCAPACITY=2 -DSENDERS=1 -DSENDS=3 -DRECEIVES=2
 *   mutant: -DMUTANT_FLAG -DRECEIVERS=1
 *   mutant: -DMUTANT_CLAIM -DCANCELS=1 -DRECEIVERS=1
 *   mutant: -DMUTANT_LAST_LOOK -DCANCELS=1 -DSENDERS=1
 *   mutant: -DMUTANT_WATCHERS -DCANCELS=1 -DRECEIVERS=1
 *   mutant: -DMUTANT_RESUME -DTIMERS=1 -DSENDERS=1
 *   mutant: -DMUTANT_STAMP
 *   mutant: -DMUTANT_CLOSE -DCLOSES=1
 */

#ifndef CAPACITY
#define CAPACITY 1
#endif
#if CAPACITY == 1
#define LAP 2
#else
#define LAP 4
#endif
#ifndef SENDS
#define SENDS 1 /* by each sender */
#endif
#ifndef RECEIVES
#define RECEIVES 1 /* by each receiver */
#endif
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef RECEIVERS
#define RECEIVERS 2
#endif
#define TASKLETS (SENDERS + RECEIVERS)

#define WAITS 64
#define SHUT 128
#define POSITION(word) ((word) & (WAITS - 1))
#define SLOT(p) ((p) % LAP)
#define NEXT_POSITION(p) ((SLOT(p) + 1 < CAPACITY) -> ((p) + 1) : ((p) - SLOT(p) + LAP))

mtype = { DONE, AGAIN, CLOSED, FLAGGED };
/* sl_wait.claim */
#define NONE 0
#define TIMEOUT 1
#define CANCEL 2
#define FIRST 3
/* sl_tasklet.parked */
#define RUNNING 0
#define PARKED 1
#define NOTIFIED 2

byte tail, head;
byte stamp[CAPACITY], element[CAPACITY];
bool lock;                                   /* the channel's sl_spin */
chan receivers = [RECEIVERS] of { byte };    /* meet.waiters[], under the lock */
chan senders = [SENDERS] of { byte };

byte claim[TASKLETS];   /* of the wait that the tasklet is in */
bool wait[TASKLETS];    /* sl_tasklet.wait: not NULL */
bool cancel[TASKLETS];
byte watchers[TASKLETS];
byte parked[TASKLETS];
bool handshake[TASKLETS];
bool armed[TASKLETS], timer_lock;
byte value[TASKLETS];   /* in the waiter's frame */
bool closed_status[TASKLETS]; /* sl_waiter.status: SL_ECLOSED */

/* Not the code's: what the properties are about. */
chan fifo = [CAPACITY + 1] of { byte };
bool is_closed;
bool frame[TASKLETS];   /* the wait's record exists */
bool left[TASKLETS];    /* the tasklet's stack has been left */
bool ready[TASKLETS];   /* in some run queue */
bool waiting[TASKLETS]; /* in sl_channel_wait() */
byte sent, received;    /* operations that said so */

#define TAKE(l) atomic { !l -> l = true }
#define DROP(l) l = false

/* sl_ready(): it runs again.  The stack must have been left, and once is enough. */
inline sl_ready(t)
{
    assert(left[t] && !ready[t]);
    ready[t] = true
}

/* sl_wait_claim() */
inline sl_wait_claim(t, by, won)
{
#ifdef MUTANT_CLAIM /* a load and a store instead of the compare-and-set */
    won = (claim[t] == NONE);
    if
    :: won -> claim[t] = by
    :: else
    fi
#else
    atomic {
        won = (claim[t] == NONE);
        if
        :: won -> claim[t] = by
        :: else
        fi
    }
#endif
}

inline sl_wait_resume(t)
{
    atomic {
        assert(frame[t]);
        if
#ifdef MUTANT_RESUME /* without the swap: the waiter may not have left its stack */
        :: true -> sl_ready(t)
#else
        :: !handshake[t] -> sl_ready(t)
        :: handshake[t] && parked[t] == PARKED -> parked[t] = NOTIFIED; sl_ready(t)
        :: else -> parked[t] = NOTIFIED
#endif
        fi
    }
}

/* sl_waiters_win(): the first that can be won, or NOBODY.  Lock held. */
#define NOBODY 255
inline sl_waiters_win(queue, who)
{
    who = NOBODY;
    do
    :: atomic { who == NOBODY && len(queue) > 0 ->
        queue?who;
        sl_wait_claim(who, FIRST, won);
        if
        :: won
        :: else -> who = NOBODY
        fi }
    :: else -> break
    od
}

/* sl_wait_park(), the channel's lock held; ends where the tasklet runs again. */
inline sl_wait_park(me, deadline)
{
#ifdef MUTANT_LAST_LOOK /* looks for a cancel before the wait can be found */
    won = cancel[me];
    wait[me] = true;
#else
    wait[me] = true;
    won = cancel[me]; /* must_cancel() */
#endif
    if
    :: won -> sl_wait_claim(me, CANCEL, won)
    :: else
    fi;
    if
    :: !won && deadline -> atomic { !timer_lock -> armed[me] = true }
    :: else
    fi;
    if
    :: won -> DROP(lock)
    :: else ->
        if /* after_park() */
        :: !deadline -> atomic { left[me] = true; parked[me] = PARKED }; DROP(lock)
        :: else ->
            atomic { left[me] = true; DROP(lock) };
            atomic {
                if
                :: parked[me] == RUNNING -> parked[me] = PARKED
                :: else -> sl_ready(me)
                fi
            }
        fi;
end_parked:
        atomic { ready[me] -> ready[me] = false; left[me] = false }
    fi;
    wait[me] = false;
#ifndef MUTANT_WATCHERS /* the frame goes while a canceller looks at it */
    watchers[me] == 0;
#endif
    if
    :: deadline -> atomic { !timer_lock -> armed[me] = false }
    :: else
    fi
}

/* sl_channel_wait(): `done` is DONE, CLOSED, or AGAIN for a timeout or a cancel. */
inline sl_channel_wait(me, queue, deadline)
{
    atomic {
        claim[me] = NONE;
        parked[me] = RUNNING;
        handshake[me] = deadline;
        closed_status[me] = false;
        frame[me] = true;
        waiting[me] = true;
        queue!me
    }
    sl_wait_park(me, deadline);
    atomic {
        if
        :: claim[me] == FIRST
        :: claim[me] != FIRST && !lock -> /* takes it, leaves the queue, drops it */
            if
            :: queue??[eval(me)] -> queue??eval(me)
            :: !(queue??[eval(me)])
            fi
        fi;
        done = (claim[me] != FIRST -> AGAIN : (closed_status[me] -> CLOSED : DONE));
        if
        :: done == DONE && me < SENDERS -> sent++
        :: done == DONE && me >= SENDERS -> received++; assert(value[me] != 0)
        :: else
        fi;
        frame[me] = false;
        waiting[me] = false
    }
}

/* put_at() and put_slowly(): sets done, and `moved` at the send. */
inline put(v)
{
    do
    :: t = tail;
        if
        :: t & SHUT -> done = CLOSED; break
        :: !(t & SHUT) && (t & WAITS) -> done = FLAGGED; break
        :: else
        fi;
        s = stamp[SLOT(t)];
        if
        :: s == t ->
            atomic {
                if
                :: tail == t -> tail = NEXT_POSITION(t); assert(!is_closed); fifo!v; sent++; done = DONE
                :: else -> done = AGAIN
                fi
            }
            if
            :: done == DONE ->
#ifdef MUTANT_STAMP /* full before the element is there */
                stamp[SLOT(t)] = t + 1;
                element[SLOT(t)] = v;
#else
                element[SLOT(t)] = v;
                stamp[SLOT(t)] = t + 1;
#endif
                break
            :: else
            fi
        :: else
        fi;
        atomic { h = POSITION(head); then = (len(fifo) == CAPACITY) }
        if
        :: tail != t
        :: else ->
            if
            :: h + LAP == t -> assert(then); done = AGAIN; break
            :: else -> (s == t || tail != t || POSITION(head) != h || stamp[SLOT(t)] != s)
            fi
        fi
    od;
    atomic { t = 0; h = 0; s = 0; then = false }
}

/* take_at() and take_slowly() */
inline take()
{
    do
    :: h = head;
        if
        :: h & WAITS -> done = FLAGGED; break
        :: else
        fi;
        s = stamp[SLOT(h)];
        if
        :: s == h + 1 ->
            atomic {
                if
                :: head == h -> head = NEXT_POSITION(h); fifo?expected; received++; done = DONE
                :: else -> done = AGAIN
                fi
            }
            if
            :: done == DONE ->
                atomic { got = element[SLOT(h)]; assert(got == expected); stamp[SLOT(h)] = h + LAP }
                break
            :: else
            fi
        :: else
        fi;
        atomic { t = tail; then = (len(fifo) == 0) }
        if
        :: head != h
        :: else ->
            if
            :: POSITION(t) == h ->
                assert(then);
                done = (t & SHUT -> CLOSED : AGAIN);
                break
            :: else -> (s == h + 1 || head != h || tail != t || stamp[SLOT(h)] != s)
            fi
        fi
    od;
    atomic { t = 0; h = 0; s = 0; then = false; expected = 0 }
}

/* Lock held, WAITS in tail. */
inline meet_receiver(v)
{
    sl_waiters_win(receivers, wake);
    atomic {
        assert(tail & WAITS);
        tail = POSITION(tail) | (len(receivers) > 0 -> WAITS : 0);
        if
        :: wake == NOBODY
        :: else ->
            assert(!is_closed && len(fifo) == 0); /* R4 */
            assert(frame[wake]);
            value[wake] = v;
            sent++;
            done = DONE
        fi
    }
}

/* Lock held, WAITS in head. */
inline meet_sender()
{
    atomic { h = POSITION(head); stamp[SLOT(h)] == h + 1 -> got = element[SLOT(h)] }
    sl_waiters_win(senders, wake);
    atomic {
        assert(head == (h | WAITS)); /* R3 */
        head = NEXT_POSITION(h) | (len(senders) > 0 -> WAITS : 0);
        fifo?expected;
        assert(expected == got);
        received++
    }
    s = h + LAP;
    if
    :: wake == NOBODY
    :: else ->
        atomic {
            assert(frame[wake]);
            element[SLOT(h)] = value[wake];
            assert(tail == s && !is_closed); /* R4 */
            fifo!value[wake];
            tail = NEXT_POSITION(s);
            s = s + 1
        }
    fi;
    stamp[SLOT(h)] = s;
    done = DONE;
    atomic { h = 0; s = 0; expected = 0 }
}

/* flag(): the CAS of `word`, seen as `old`, that sets WAITS. */
inline set_waits(word, old)
{
#ifdef MUTANT_FLAG /* a store: who moved the word meanwhile has not seen the flag */
    if
    :: old & WAITS -> done = AGAIN
    :: !(old & WAITS) && word == old -> word = old | WAITS; done = AGAIN
    :: else -> done = FLAGGED
    fi
#else
    atomic {
        if
        :: old & WAITS -> done = AGAIN
        :: !(old & WAITS) && word == old -> word = old | WAITS; done = AGAIN
        :: else -> done = FLAGGED
        fi
    }
#endif
}

/* op_send(): act(); then operate_locked(), which is poll() and sl_channel_wait(). */
proctype sender(byte me; bool deadline)
{
    byte t, h, s, wake = NOBODY, n;
    mtype done;
    bool then, won, locked;
    do
    :: n < SENDS ->
        n++;
        do
        :: put(me * SENDS + n);
            if
            :: done == DONE || done == CLOSED -> break
            :: else
            fi;
            if
            :: !locked -> TAKE(lock); locked = true
            :: locked && done == FLAGGED ->
                meet_receiver(me * SENDS + n);
                if
                :: done == DONE -> break
                :: else
                fi
            :: else -> /* flag() */
                h = head;
                t = tail;
                if
                :: (t & SHUT) || POSITION(t) != POSITION(h) + LAP -> done = FLAGGED
                :: else -> set_waits(head, h)
                fi;
                atomic { t = 0; h = 0 };
                if
                :: done == AGAIN -> break
                :: else
                fi
            fi
        od;
        if
        :: done == AGAIN ->
            value[me] = me * SENDS + n;
            locked = false;
            sl_channel_wait(me, senders, deadline)
        :: else ->
            if
            :: locked -> locked = false; DROP(lock)
            :: else
            fi;
            if
            :: wake != NOBODY -> sl_wait_resume(wake); wake = NOBODY
            :: else
            fi
        fi
    :: else -> break
    od
}

/* op_receive() */
proctype receiver(byte me; bool deadline)
{
    byte t, h, s, wake = NOBODY, got, expected;
    mtype done;
    byte n;
    bool then, won, locked;
    do
    :: n == RECEIVES -> break
    :: n < RECEIVES ->
        n++;
        do
        :: take();
            if
            :: done == DONE || done == CLOSED -> break
            :: else
            fi;
            if
            :: !locked -> TAKE(lock); locked = true
            :: locked && done == FLAGGED -> meet_sender(); break
            :: else -> /* flag() */
                h = head;
                t = tail;
                if
                :: (t & SHUT) || POSITION(t) != POSITION(h) -> done = FLAGGED
                :: else -> set_waits(tail, t)
                fi;
                atomic { t = 0; h = 0 };
                if
                :: done == AGAIN -> break
                :: else
                fi
            fi
        od;
        if
        :: done == AGAIN ->
            locked = false;
            value[me] = 0;
            sl_channel_wait(me, receivers, deadline)
        :: else ->
            if
            :: locked -> locked = false; DROP(lock)
            :: else
            fi;
            if
            :: wake != NOBODY -> sl_wait_resume(wake); wake = NOBODY
            :: else
            fi
        fi;
        got = 0
    od
}

#if CANCELS
byte cancelled = NOBODY;

/* sl_cancel_one() of the first sender or the last receiver. */
proctype canceller()
{
    byte t;
    bool won;
    if
    :: t = 0
    :: t = TASKLETS - 1
    fi;
    cancel[t] = true;
    watchers[t]++;
    /* barrier_all() */
    if
    :: wait[t] ->
        atomic { assert(frame[t]); sl_wait_claim(t, CANCEL, won) };
        if
        :: won -> /* resume_stranger() */
            atomic {
                (handshake[t] || parked[t] == PARKED);
                sl_wait_resume(t)
            }
        :: else
        fi
    :: else
    fi;
    atomic { watchers[t]--; cancelled = t }
}
#endif

#if TIMERS
/* sl_fire_timers(): once, for one whose deadline may have come. */
proctype timer()
{
    byte t;
    bool won;
    select(t : 0 .. TASKLETS - 1);
end_unarmed:
    armed[t];
    TAKE(timer_lock);
    if
    :: armed[t] ->
        armed[t] = false;
        sl_wait_claim(t, TIMEOUT, won);
        if
        :: won -> sl_wait_resume(t)
        :: else
        fi
    :: else
    fi;
    DROP(timer_lock)
}
#endif

#if CLOSES
/* op_close(), or not. */
proctype closer()
{
    byte t, who;
    bool won;
    chan all = [TASKLETS] of { byte };
    if
    :: skip
    :: TAKE(lock);
#ifdef MUTANT_CLOSE /* a load and a store: a send in between is undone */
        t = tail;
        atomic { tail = POSITION(t) | SHUT; is_closed = true };
#else
        /* A CAS that fails is tried again: as if it had come later. */
        atomic { tail = POSITION(tail) | SHUT; is_closed = true };
#endif
        head = POSITION(head);
        do /* sl_meet_close() */
        :: sl_waiters_win(receivers, who);
            if
            :: who == NOBODY -> break
            :: else -> assert(frame[who]); closed_status[who] = true; value[who] = NOBODY; all!who
            fi
        od;
        do
        :: sl_waiters_win(senders, who);
            if
            :: who == NOBODY -> break
            :: else -> assert(frame[who]); closed_status[who] = true; all!who
            fi
        od;
        DROP(lock);
        do
        :: all?who -> sl_wait_resume(who)
        :: len(all) == 0 -> break
        od
    fi
}
#endif

/* Nobody can go on. */
proctype at_the_end()
{
    byte i;
    timeout;
    d_step {
        assert(!lock && !timer_lock);
        assert(len(fifo) <= CAPACITY && sent == received + len(fifo));
        i = 0;
        do
        :: i < TASKLETS ->
            assert(!ready[i] && watchers[i] == 0);
            if /* else: a lost wake-up */
            :: waiting[i] -> assert(!is_closed && len(fifo) == (i < SENDERS -> CAPACITY : 0))
            :: else
            fi;
#if CANCELS
            assert(cancelled != i || !waiting[i]);
#endif
            i++
        :: else -> break
        od
    }
}

#ifndef DEADLINES
#define DEADLINES(i) ((i) % 2)
#endif

init {
    byte i;
    atomic {
        do
        :: i < CAPACITY -> stamp[i] = i; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < SENDERS -> run sender(i, DEADLINES(i)); i++
        :: else -> break
        od;
        do
        :: i < TASKLETS -> run receiver(i, DEADLINES(i)); i++
        :: else -> break
        od;
#if CANCELS
        run canceller();
#endif
#if TIMERS
        run timer();
#endif
#if CLOSES
        run closer();
#endif
        run at_the_end();
        i = 0
    }
}
