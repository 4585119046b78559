// SPDX-License-Identifier: MIT

// The rows of bench/native/native_bench.cc in Go.
//
//	peer P SECONDS ROW...
//
// runs each row with GOMAXPROCS=P for SECONDS at least and prints "ROW NS", the
// time of one operation.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const width, messages = 100, 50000

// both runs two bodies to their end.
func both(a, b func()) {
	var group sync.WaitGroup
	group.Add(2)
	go func() { a(); group.Done() }()
	go func() { b(); group.Done() }()
	group.Wait()
}

func yield() float64 {
	const n = 100000
	body := func() {
		for i := 0; i < n; i++ {
			runtime.Gosched()
		}
	}
	both(body, body)
	return 2 * n
}

func spawnJoin() float64 {
	const n = 20000
	for i := 0; i < n; i++ {
		done := make(chan struct{})
		go func() { close(done) }()
		<-done
	}
	return n
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	left := make(chan int, 1)
	go func() { left <- fib(n - 1) }()
	right := fib(n - 2)
	return <-left + right
}

func fib25() float64 {
	if fib(25) != 75025 {
		panic("fib")
	}
	return 1
}

func stream(capacity int) func() float64 {
	return func() float64 {
		c := make(chan int64, capacity)
		both(func() {
			for i := 0; i < messages; i++ {
				<-c
			}
		}, func() {
			for i := int64(0); i < messages; i++ {
				c <- i
			}
		})
		return messages
	}
}

func pingpong() float64 {
	a, b := make(chan int64), make(chan int64)
	both(func() {
		for i := 0; i < messages; i++ {
			b <- <-a
		}
	}, func() {
		for i := int64(0); i < messages; i++ {
			a <- i
			<-b
		}
	})
	return 2 * messages
}

func fan(in bool) func() float64 {
	return func() float64 {
		c := make(chan int64)
		var group sync.WaitGroup
		group.Add(width + 1)
		receive := func(n int) {
			for i := 0; i < n; i++ {
				<-c
			}
			group.Done()
		}
		send := func(n int) {
			for i := 0; i < n; i++ {
				c <- int64(i)
			}
			group.Done()
		}
		one, many := receive, send
		if !in {
			one, many = send, receive
		}
		go one(messages)
		for i := 0; i < width; i++ {
			go many(messages / width)
		}
		group.Wait()
		return messages
	}
}

func ring() float64 {
	const size, rounds = 1000, 50
	c := make([]chan int64, size)
	for i := range c {
		c[i] = make(chan int64)
	}
	for i := 1; i < size; i++ {
		go func(from, to chan int64) {
			for token := range from {
				to <- token
			}
		}(c[i-1], c[i])
	}
	for i := int64(0); i < rounds; i++ {
		c[0] <- i
		<-c[size-1]
	}
	for _, each := range c {
		close(each)
	}
	return size * rounds
}

func choose2() float64 {
	a, b := make(chan int64), make(chan int64)
	const n = 20000
	both(func() {
		for i := 0; i < n; i++ {
			select {
			case <-a:
			case <-b:
			}
		}
	}, func() {
		for i := int64(0); i < n; i++ {
			if i%2 == 0 {
				a <- i
			} else {
				b <- i
			}
		}
	})
	return n
}

func choose8() float64 {
	var c [8]chan int64
	for i := range c {
		c[i] = make(chan int64)
	}
	const n = 20000
	both(func() {
		for i := 0; i < n; i++ {
			select {
			case <-c[0]:
			case <-c[1]:
			case <-c[2]:
			case <-c[3]:
			case <-c[4]:
			case <-c[5]:
			case <-c[6]:
			case <-c[7]:
			}
		}
	}, func() {
		for i := int64(0); i < n; i++ {
			c[i%8] <- i
		}
	})
	return n
}

func timers() float64 {
	const n = 100000
	var group sync.WaitGroup
	group.Add(n)
	for i := 0; i < n; i++ {
		pause := time.Duration(i*7919%20000) * time.Microsecond
		go func() { time.Sleep(pause); group.Done() }()
	}
	group.Wait()
	return n
}

var sums [1000]uint64

func addRange(first, n int) {
	if n == 1 {
		work := first % 50 * 100
		if first%97 == 0 {
			work = 100000
		}
		x, sum := uint64(88172645463325252), uint64(0)
		for i := 0; i < work; i++ {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			sum += x
		}
		sums[first] = sum
		return
	}
	done := make(chan struct{})
	go func() { addRange(first, n/2); close(done) }()
	addRange(first+n/2, n-n/2)
	<-done
}

func unevenSum() float64 {
	addRange(0, len(sums))
	return 1
}

func steal() float64 {
	const n = 2000
	var flag int32
	for i := 0; i < n; i++ {
		atomic.StoreInt32(&flag, 0)
		go func() {}()
		go func() { atomic.StoreInt32(&flag, 1) }()
		for atomic.LoadInt32(&flag) == 0 {
		}
		runtime.Gosched()
	}
	return n
}

var rows = map[string]func() float64{
	"yield": yield, "spawn_join": spawnJoin, "fib25": fib25,
	"stream/unbuffered": stream(0), "stream/buffered1": stream(1), "stream/buffered100": stream(100),
	"pingpong": pingpong, "fan_in": fan(true), "fan_out": fan(false), "ring1000": ring,
	"choose/2": choose2, "choose/8": choose8, "timers100k": timers, "uneven_sum": unevenSum, "steal": steal,
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: peer P SECONDS ROW...")
		os.Exit(2)
	}
	p, _ := strconv.Atoi(os.Args[1])
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	runtime.GOMAXPROCS(p)
	for _, name := range os.Args[3:] {
		row := rows[name]
		if row == nil || name == "steal" && p < 2 {
			continue
		}
		start, operations := time.Now(), 0.0
		for time.Since(start).Seconds() < seconds {
			operations += row()
		}
		fmt.Printf("%s %.3f\n", name, float64(time.Since(start).Nanoseconds())/operations)
	}
}
