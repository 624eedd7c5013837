// SPDX-License-Identifier: MIT
// The Go client against Weir: go run . SERVER,… basics | stay, as tests/clients/nats.cjs.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const limit = 20 * time.Second

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func check(ok bool, what string) {
	if !ok {
		log.Fatal("not so: ", what)
	}
}

func flush(all ...*nats.Conn) {
	for _, nc := range all {
		check(nc.FlushTimeout(limit) == nil, "flush")
	}
}

func basics(url string) {
	nc, other := must(nats.Connect(url)), must(nats.Connect(url))
	sub := must(nc.SubscribeSync("orders.*"))
	sub.AutoUnsubscribe(2)
	flush(nc)
	m := nats.NewMsg("orders.new")
	m.Data = []byte("hello")
	m.Header.Add("Kind", "one")
	m.Header.Add("Kind", "two")
	other.PublishMsg(m)
	other.Publish("orders.old", []byte("bye"))
	got := must(sub.NextMsg(limit))
	check(string(got.Data) == "hello" && len(got.Header.Values("Kind")) == 2, "the first message")
	check(string(must(sub.NextMsg(limit)).Data) == "bye", "the second message")

	var seen [100]atomic.Int32
	for _, c := range []*nats.Conn{nc, other} {
		must(c.QueueSubscribe("work", "crew", func(m *nats.Msg) { seen[must(strconv.Atoi(string(m.Data)))].Add(1) }))
	}
	flush(nc, other)
	for i := range seen {
		nc.Publish("work", []byte(strconv.Itoa(i)))
	}
	for i := range seen {
		for end := time.Now().Add(limit); seen[i].Load() == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		check(seen[i].Load() == 1, "each message once")
	}

	must(other.Subscribe("square", func(m *nats.Msg) {
		n := must(strconv.Atoi(string(m.Data)))
		m.Respond([]byte(strconv.Itoa(n * n)))
	}))
	flush(other)
	for i := 0; i < 200; i++ {
		check(string(must(nc.Request("square", []byte(strconv.Itoa(i)), limit)).Data) == strconv.Itoa(i*i), "a square")
	}
	_, err := nc.Request("nobody", nil, limit)
	check(errors.Is(err, nats.ErrNoResponders), "nobody there")

	big := must(nc.SubscribeSync("big"))
	check(nc.Publish("big", make([]byte, nc.MaxPayload())) == nil, "a large message")
	check(int64(len(must(big.NextMsg(limit)).Data)) == nc.MaxPayload(), "its size")
	check(errors.Is(nc.Publish("big", make([]byte, nc.MaxPayload()+1)), nats.ErrMaxPayload), "too large")

	var handled atomic.Int32
	closed := make(chan bool)
	other.SetClosedHandler(func(*nats.Conn) { close(closed) })
	must(other.Subscribe("last", func(*nats.Msg) { handled.Add(1) }))
	flush(other)
	for i := 0; i < 1000; i++ {
		nc.Publish("last", nil)
	}
	flush(nc)
	check(other.Drain() == nil, "drain")
	<-closed
	check(handled.Load() == 1000, "all before the end of the drain")
	nc.Close()
	fmt.Println("basics ok")
}

func stay(url string) {
	nc := must(nats.Connect(url, nats.DontRandomize(), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { fmt.Println("disconnected") }),
		nats.ReconnectHandler(func(nc *nats.Conn) { fmt.Println("reconnected", nc.ConnectedUrl()) }),
		nats.LameDuckModeHandler(func(*nats.Conn) { fmt.Println("told to leave") }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})))
	over := make(chan bool)
	must(nc.Subscribe("stay", func(m *nats.Msg) {
		if string(m.Data) == "end" {
			close(over)
		} else if len(m.Data) < 100 {
			fmt.Println("got", string(m.Data))
		}
	}))
	flush(nc)
	fmt.Println("connected", nc.ConnectedUrl())
	<-over
	closed := make(chan bool)
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	check(nc.Drain() == nil, "drain")
	<-closed
	fmt.Println("drained")
}

func main() {
	if os.Args[2] == "basics" {
		basics(os.Args[1])
	} else {
		stay(os.Args[1])
	}
}
