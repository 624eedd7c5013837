// SPDX-License-Identifier: MIT

// The Go peer of bench/: the same work under the same names, so that script/bench can set them side by side.
// "main http ADDR" serves the HTTP and SSE peers instead.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

func bench(name string, n int, fn func(n int)) {
	wanted := len(os.Args) < 2 || os.Args[1] == "many"
	for _, part := range os.Args[1:] {
		wanted = wanted || strings.Contains(name, part)
	}
	if !wanted {
		return
	}
	fn(n / 10)
	from := time.Now()
	fn(n)
	report(name, from, n)
}

func report(name string, from time.Time, n int) {
	fmt.Printf("%s %.2f\n", name, float64(time.Since(from).Nanoseconds())/float64(n))
}

func ping(n int, across bool) {
	in, out := make(chan int64), make(chan int64)
	done := make(chan struct{})
	go func() {
		if across {
			runtime.LockOSThread()
		}
		for v := range in {
			out <- v
		}
		close(done)
	}()
	if across {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	for i := 0; i < n; i++ {
		in <- int64(i)
		<-out
	}
	close(in)
	<-done
}

func many(n, tasks, size int) {
	c := make(chan int64, size)
	var producers, consumers sync.WaitGroup
	for i := 0; i < tasks; i++ {
		producers.Add(1)
		go func() {
			for k := 0; k < n/tasks; k++ {
				c <- int64(k)
			}
			producers.Done()
		}()
		consumers.Add(1)
		go func() {
			for range c {
			}
			consumers.Done()
		}()
	}
	producers.Wait()
	close(c)
	consumers.Wait()
}

func blocked(n int) {
	a, b := make(chan int64), make(chan int64)
	done := make(chan struct{})
	go func() {
		for i := 0; i < n; i++ {
			if i&1 == 0 {
				a <- 1
			} else {
				b <- 1
			}
		}
		close(done)
	}()
	for i := 0; i < n; i++ {
		select {
		case <-a:
		case <-b:
		}
	}
	<-done
}

func noneReady(n int) {
	a, b := make(chan int64), make(chan int64)
	missed := 0
	for i := 0; i < n; i++ {
		select {
		case <-a:
		case <-b:
		default:
			missed++
		}
	}
	runtime.KeepAlive(missed)
}

// What one writes in Go for a receive with a limit.
func readyUnderALimit(n int) {
	c := make(chan int64, 1)
	for i := 0; i < n; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c <- 1
		select {
		case <-c:
		case <-ctx.Done():
		}
		cancel()
	}
}

func spawn(n, size int) {
	var group sync.WaitGroup
	for done := 0; done < n; done += size {
		group.Add(size)
		for i := 0; i < size; i++ {
			go func() { group.Done() }()
		}
		group.Wait()
	}
}

func mutex(n int) {
	var m sync.Mutex
	x := 0
	for i := 0; i < n; i++ {
		m.Lock()
		x++
		m.Unlock()
	}
	runtime.KeepAlive(x)
}

func limits(n int) {
	pending := make([]*time.Timer, 100000)
	for i := range pending {
		pending[i] = time.AfterFunc(time.Hour+time.Duration(i)*time.Millisecond, func() {})
	}
	from := time.Now()
	for i := 0; i < n; i++ {
		time.AfterFunc(time.Hour/2, func() {}).Stop()
	}
	report("timer-start-stop-beside-100k", from, n)
	from = time.Now()
	for i := 0; i < n; i++ {
		pending[(i*7919)%1000].Reset(time.Hour + 50*time.Second)
	}
	report("timer-restart-among-100k", from, n)
	for _, t := range pending {
		t.Stop()
	}
}

// 5000 pairs that each hear one context, as the tasks of a group do.
func crowd(n int) {
	const pairs = 5000
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	turn := func(send, receive chan int64, first bool) {
		for i := 0; i < n/pairs; i++ {
			for k := 0; k < 2; k++ {
				if (k == 0) == first {
					select {
					case send <- 1:
					case <-ctx.Done():
						return
					}
				} else {
					select {
					case <-receive:
					case <-ctx.Done():
						return
					}
				}
			}
		}
	}
	var wg sync.WaitGroup
	wg.Add(2 * pairs)
	for i := 0; i < pairs; i++ {
		there, back := make(chan int64), make(chan int64)
		go func() { turn(there, back, true); wg.Done() }()
		go func() { turn(back, there, false); wg.Done() }()
	}
	wg.Wait()
}

func stopCrowd() {
	ctx, cancel := context.WithCancel(context.Background())
	var parked, ended sync.WaitGroup
	parked.Add(10000)
	ended.Add(10000)
	for i := 0; i < 10000; i++ {
		go func() {
			parked.Done()
			<-ctx.Done()
			ended.Done()
		}()
	}
	parked.Wait()
	time.Sleep(10 * time.Millisecond)
	from := time.Now()
	cancel()
	ended.Wait()
	report("cancel-of-10k-waiters", from, 1)
}

func million(how string) {
	const n = 1000000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	gate := make(chan int64)
	var parked, ended sync.WaitGroup
	parked.Add(n)
	ended.Add(n)
	from := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			parked.Done()
			<-gate
			ended.Done()
		}()
	}
	parked.Wait()
	report("park-1M-"+how, from, n)
	if how == "fresh" {
		runtime.ReadMemStats(&after)
		fmt.Printf("park-1M-bytes %d\n", (after.Sys-before.Sys)/n)
	}
	from = time.Now()
	close(gate)
	ended.Wait()
	report("wake-and-end-1M-"+how, from, n)
}

// A hub as one writes it in Go: a buffered channel per client, a handler per stream.
type hub struct {
	lock    sync.Mutex
	clients map[chan []byte]bool
}

func (h *hub) stream(w http.ResponseWriter, r *http.Request) {
	c := make(chan []byte, 256)
	h.lock.Lock()
	h.clients[c] = true
	h.lock.Unlock()
	defer func() {
		h.lock.Lock()
		delete(h.clients, c)
		h.lock.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flusher := w.(http.Flusher)
	fmt.Fprint(w, "retry: 2000\n\n")
	flusher.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-c:
			if _, err := w.Write(event); err != nil {
				return
			}
			flusher.Flush()
		}
	}
}

func (h *hub) publish(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	event := []byte(fmt.Sprintf("data: %s\n\n", data))
	h.lock.Lock()
	for c := range h.clients {
		select {
		case c <- event:
		default:
		}
	}
	h.lock.Unlock()
}

func serve(addr string) {
	h := &hub{clients: map[chan []byte]bool{}}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello, world\n")
	})
	http.HandleFunc("GET /events", h.stream)
	http.HandleFunc("POST /events", h.publish)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", l.Addr())
	if cert := os.Getenv("TLS_CERT"); cert != "" {
		log.Fatal(http.ServeTLS(l, nil, cert, os.Getenv("TLS_KEY")))
	}
	server := &http.Server{}
	both(server)
	log.Fatal(server.Serve(l))
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "http" {
		serve(os.Args[2])
	}
	if len(os.Args) == 2 && os.Args[1] == "many" {
		limits(2000000)
		bench("crowd-10k-round-trip", 5000000, crowd)
		stopCrowd()
		million("fresh")
		million("recycled")
		return
	}
	bench("chan-pingpong-unbuffered", 1000000, func(n int) { ping(n, false) })
	bench("chan-1to1-unbuffered", 2000000, func(n int) { many(n, 1, 0) })
	bench("chan-1to1-buffered-128", 5000000, func(n int) { many(n, 1, 128) })
	bench("chan-4to4-buffered-128", 5000000, func(n int) { many(n, 4, 128) })
	if runtime.GOMAXPROCS(0) > 1 {
		bench("chan-4to4-buffered-128-across", 2000000, func(n int) { many(n, 4, 128) })
		bench("chan-pingpong-across", 50000, func(n int) { ping(n, true) })
	}
	bench("select-2-blocked", 2000000, blocked)
	bench("select-2-none-ready", 10000000, noneReady)
	bench("recv-ready-under-1s-limit", 1000000, readyUnderALimit)
	bench("spawn-join-1", 1000000, func(n int) { spawn(n, 1) })
	bench("spawn-join-1000", 2000000, func(n int) { spawn(n, 1000) })
	bench("yield", 5000000, func(n int) {
		for i := 0; i < n; i++ {
			runtime.Gosched()
		}
	})
	bench("mutex-uncontended", 20000000, mutex)
	bench("mutex-shared-uncontended", 20000000, mutex)
}
