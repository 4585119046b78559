# SPDX-License-Identifier: MIT
"""Random mixes of everything at once, with every message accounted for; scenario.py runs them."""

import pytest

from scenario import run

SCENARIOS = {}

SCENARIOS["channels"] = """
# Producers and consumers over channels of all preferences; books of sent and received must match.
while goes_on():
    rng = random.Random(seed + rounds)
    channels = [stackless.channel() for _ in range(rng.randrange(1, 6))]
    for channel in channels:
        channel.preference = rng.choice((-1, 0, 1))
        channel.schedule_all = rng.choice((0, 0, 1))
    sent, got = [], []
    per = rng.randrange(1, 30)
    pairs = rng.randrange(1, 30)
    def produce(number, channel, local):
        for index in range(per):
            if local.random() < 0.2:
                stackless.schedule()
            sent.append((number, index))
            channel.send((number, index))
    def consume(channel, local):
        for _ in range(per):
            if local.random() < 0.2:
                stackless.schedule()
            got.append(channel.receive())
    work = []
    for number in range(pairs):
        channel = rng.choice(channels)
        work.append((produce, number, channel, random.Random(rng.random())))
        work.append((consume, channel, random.Random(rng.random())))
    rng.shuffle(work)
    for function, *arguments in work:
        stackless.tasklet(function)(*arguments)
    stackless.run()
    assert sorted(sent) == sorted(got) and len(sent) == per * pairs
    assert all(channel.balance == 0 for channel in channels)
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["kills"] = """
# Tasklets in every state are killed and thrown at; each must end exactly once, by one of the ways it may.
while goes_on():
    rng = random.Random(seed + rounds)
    channel = stackless.channel()
    started, ended = [0], [0]
    def work(local):
        started[0] += 1
        try:
            for _ in range(local.randrange(1, 10)):
                try:
                    choice = local.randrange(6)
                    if choice == 0:
                        stackless.schedule()
                    elif choice == 1:
                        channel.receive()
                    elif choice == 2:
                        channel.send(1)
                    elif choice == 3:
                        stackless.sleep(local.random() * 0.002)
                    elif choice == 4:
                        stackless.schedule_remove()
                    else:
                        with stackless.timeout(0.001):
                            channel.receive()
                except (Thrown, TimeoutError):
                    pass
        finally:
            ended[0] += 1
    tasklets = [stackless.tasklet(work)(random.Random(rng.random())) for _ in range(rng.randrange(1, 60))]
    def attack(local):
        for _ in range(100):
            victim = local.choice(tasklets)
            if not victim.alive:
                continue
            choice = local.randrange(5)
            if choice == 0:
                victim.kill()
            elif choice == 1:
                victim.kill(pending=True)
            elif choice == 2 and started[0] == len(tasklets):
                victim.throw(Thrown, pending=True)
            elif choice == 3 and victim.paused:
                victim.insert()
            stackless.schedule()
    attackers = [stackless.tasklet(attack)(random.Random(rng.random())) for _ in range(2)]
    stackless.run()
    for victim in tasklets:
        for _ in range(3):
            if victim.alive:
                victim.kill()
    stackless.run()
    assert not any(victim.alive for victim in tasklets + attackers)
    assert started == ended, (started, ended)
    assert channel.balance == 0 and channel.queue is None
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["blocking"] = """
# Blocking calls, sleeps and messages together; each tasklet reports each of its steps through a channel.
while goes_on():
    rng = random.Random(seed + rounds)
    reports = stackless.channel()
    reports.preference = rng.choice((-1, 0, 1))
    lock = threading.Lock()
    inside = [0]
    def work(number, steps, local):
        for step in range(steps):
            choice = local.randrange(7)
            if choice == 0:
                time.sleep(local.random() * 0.003)
            elif choice == 1:
                stackless.sleep(local.random() * 0.003)
            elif choice == 2:
                with lock:
                    inside[0] += 1
                    assert inside[0] == 1
                    time.sleep(0.0005)
                    inside[0] -= 1
            elif choice == 3:
                reading, writing = os.pipe()
                os.write(writing, b"x")
                assert os.read(reading, 10) == b"x"
                os.close(reading)
                os.close(writing)
            elif choice == 4:
                with stackless.pinned():
                    ident = threading.get_native_id()
                    time.sleep(0.0005)
                    stackless.schedule()
                    assert threading.get_native_id() == ident
            elif choice == 5:
                sum(range(20000))
            else:
                stackless.schedule()
            reports.send((number, step))
    plan = [rng.randrange(1, 12) for _ in range(rng.randrange(1, 25))]
    for number, steps in enumerate(plan):
        stackless.tasklet(work)(number, steps, random.Random(rng.random()))
    got = []
    def collect():
        for _ in range(sum(plan)):
            got.append(reports.receive())
    stackless.tasklet(collect)()
    stackless.run()
    for number, steps in enumerate(plan):
        assert [step for other, step in got if other == number] == list(range(steps))
    assert reports.balance == 0
    check_clean()
    rounds += 1
assert stackless.stats()["strays"] == 0
print("ok", rounds)
"""

SCENARIOS["timeouts"] = """
# Receives race against timeouts: no value arrives twice, and none is lost that a timeout does not explain.
while goes_on():
    rng = random.Random(seed + rounds)
    channel = stackless.channel()
    delivered, expired, sent = [], [0], []
    stop = []
    def receive(local):
        while not stop:
            try:
                with stackless.timeout(local.random() * 0.001):
                    value = channel.receive()
                    delivered.append(value)
            except TimeoutError:
                expired[0] += 1
    def send(number, local):
        for index in range(30):
            value = (number, index)
            channel.send(value)
            sent.append(value)
            if local.random() < 0.3:
                stackless.sleep(local.random() * 0.001)
        finished.append(number)
        if len(finished) == senders:
            stop.append(1)
    finished = []
    senders = rng.randrange(1, 6)
    for _ in range(rng.randrange(1, 6)):
        stackless.tasklet(receive)(random.Random(rng.random()))
    for number in range(senders):
        stackless.tasklet(send)(number, random.Random(rng.random()))
    stackless.run()
    assert sorted(sent) == [(n, i) for n in range(senders) for i in range(30)]
    lost = len(sent) - len(set(delivered))
    assert len(delivered) == len(set(delivered)), "a value arrived twice"
    # a value handed over at the very moment of the timeout may be dropped by the receiver's block, never more
    assert 0 <= lost <= expired[0], (lost, expired)
    assert channel.balance == 0
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["threads"] = """
# Plain threads with schedulers of their own send to each other and to main; cross-thread kills and inserts.
while goes_on():
    rng = random.Random(seed + rounds)
    count = rng.randrange(1, 5)
    tasklets, messages = rng.randrange(1, 5), rng.randrange(1, 30)
    channel = stackless.channel()
    failures = []
    def thread_body(number, local):
        try:
            def produce(index):
                for message in range(messages):
                    channel.send((number, index, message))
                    if local.random() < 0.1:
                        stackless.schedule()
            made = [stackless.tasklet(produce)(index) for index in range(tasklets)]
            idle = stackless.tasklet(stackless.schedule_remove)()
            others.append(idle)
            while any(t.alive for t in made):
                stackless.run()
                time.sleep(0.0002)
            idle.kill()
            stackless.run()
        except BaseException as error:
            failures.append(error)
    others = []
    threads = [threading.Thread(target=thread_body, args=(n, random.Random(rng.random()))) for n in range(count)]
    for thread in threads:
        thread.start()
    got = []
    for _ in range(count * tasklets * messages):
        got.append(channel.receive())
        if others and rng.random() < 0.05:
            rng.choice(others).kill(pending=True)
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert sorted(got) == [(n, i, m) for n in range(count) for i in range(tasklets) for m in range(messages)]
    assert channel.balance == 0
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["turnover"] = """
# Many short lives, with garbage collections and dropped tasklets in between; memory must not grow with rounds.
def one_round(rng):
    ended = [0]
    def life(depth):
        try:
            local = [bytearray(100) for _ in range(10)]
            stackless.schedule()
            if depth:
                stackless.tasklet(life)(depth - 1)
            if depth == 2:
                stackless.schedule_remove()     # nobody holds it: killed by its finaliser
        finally:
            ended[0] += 1
    for _ in range(200):
        stackless.tasklet(life)(rng.randrange(4))
    stackless.run()
    gc.collect()
    check_clean()
    return ended[0]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

total = 0
for _ in range(30):
    total += one_round(random.Random(seed + rounds))
    rounds += 1
before = resident()
while goes_on():
    total += one_round(random.Random(seed + rounds))
    rounds += 1
growth = resident() - before
assert growth < 20 * 1000 * 1000, growth
print("ok", rounds)
"""


@pytest.mark.parametrize("threads", [None, "1", "2", "16"], ids=["default", "1", "2", "16"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_stress(name, threads, tmp_path):
    run(SCENARIOS[name], threads, tmp_path)
