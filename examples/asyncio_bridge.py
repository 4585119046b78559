#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An asyncio server and tasklets in one program, each in the style that suits it.

    python examples/asyncio_bridge.py

Shows: `stackless.aio`. The server is asyncio's own, in a tasklet; what it serves
comes from a tasklet that keeps accounts, reached through channels; the clients are
plain functions in tasklets, and one of them has a coroutine of the server's loop
sum up.
"""

import asyncio

import stackless
from stackless import aio, socket

orders = stackless.channel()


def keep_accounts():
    """One tasklet owns the balances, so they need no lock."""
    balances = {}
    for name, amount, answer in orders:
        balances[name] = balances.get(name, 0) + amount
        answer.send(balances[name])


def order(name, amount):
    answer = stackless.channel()
    orders.send((name, amount, answer))
    return answer.receive()


class Server:
    def __init__(self):
        self.ready = stackless.Event()
        self.requests = 0

    async def handle(self, reader, writer):
        while line := await reader.readline():
            name, amount = line.decode().split()
            balance = await aio.to_tasklet(order, name, int(amount))  # a coroutine must not wait in a channel
            self.requests += 1
            writer.write(f"{name} has {balance}\n".encode())
            await writer.drain()
        writer.close()

    async def main(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stop.wait()
        server.close()

    async def summary(self):
        return f"{self.requests} requests served"


def client(server, name, amounts):
    with socket.create_connection(("127.0.0.1", server.port)) as connection, connection.makefile("rw") as file:
        for amount in amounts:
            print(name, amount, file=file, flush=True)
            answer = file.readline().strip()
        return answer


def main():
    server = Server()
    with stackless.TaskletGroup() as group:
        accounts = group.spawn(keep_accounts)
        group.spawn(aio.run, server.main())
        server.ready.wait()
        clients = [group.spawn(client, server, name, range(1, last + 1))
                   for name, last in [("ann", 10), ("bob", 20), ("eve", 30)]]
        for one in clients:
            print(one.result())
        print(aio.call(server.summary(), server.loop))
        server.loop.call_soon_threadsafe(server.stop.set)
        accounts.kill()


if __name__ == "__main__":
    main()
