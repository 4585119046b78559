// SPDX-License-Identifier: MIT
//
// From C++: lambdas as tasklets, and a sum that divides itself among all processors.
// An exception must be caught in the tasklet that threw it, and between catch and the
// end of its handler nothing may switch: both belong to the OS thread.
//
//     sum [N]     of the integers below N, 10,000,000 by default
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <stackless/pool.h>

namespace {

void check(int rc)
{
    if (rc < 0)
        throw std::runtime_error(sl_strerror(rc));
}

struct PoolEnd {
    void operator()(sl_pool *pool) const { sl_pool_destroy(pool); }
};

// A tasklet that is joined where its object ends.
template <typename Body> class Task {
public:
    Task(sl_pool *pool, Body body) : body_(std::move(body)) { check(sl_go(pool, &handle_, run, this)); }
    ~Task() { sl_join(handle_, SL_FOREVER); }
    Task(const Task &) = delete;
    Task &operator=(const Task &) = delete;

private:
    static void run(void *self)
    {
        try {
            static_cast<Task *>(self)->body_();
        } catch (const std::exception &e) {
            std::cerr << "a tasklet failed: " << e.what() << '\n';
        }
    }
    Body body_;
    sl_tasklet *handle_ = nullptr;
};

std::uint64_t sum(std::uint64_t from, std::uint64_t to)
{
    std::uint64_t total = 0;
    if (to - from < 10000) {
        while (from < to)
            total += from++;
        return total;
    }
    std::uint64_t middle = from + (to - from) / 2, left = 0;
    auto body = [&] { left = sum(from, middle); };
    {
        Task<decltype(body)> task(nullptr, body); // the caller's own pool
        total = sum(middle, to);
    }
    return left + total;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        std::uint64_t n = argc > 1 ? std::stoull(argv[1]) : 10000000, total = 0;
        sl_pool *made = nullptr;
        check(sl_pool_create(&made, nullptr));
        std::unique_ptr<sl_pool, PoolEnd> pool(made);
        {
            auto body = [&] { total = sum(0, n); };
            Task<decltype(body)> all(pool.get(), body);
        }
        std::cout << total << '\n';
        return total == n * (n - 1) / 2 ? 0 : 1;
    } catch (const std::exception &e) {
        std::cerr << "sum: " << e.what() << '\n';
        return 1;
    }
}
