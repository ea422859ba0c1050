// Command fakeai is an OpenAI-compatible server that repeats what it is told, word by word:
// for tests of programs, and to try the assistant without a model.
//
//	go run ./plugins/assistant/internal/fakeai/cmd/fakeai -listen 127.0.0.1:8080 -pause 50ms
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	first := flag.Duration("first", 0, "pause before the first word")
	pause := flag.Duration("pause", 50*time.Millisecond, "pause between words")
	answer := flag.String("answer", "", "say this in place of repeating the question")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := fakeai.NewAt(l)
	s.Answer = func(r *fakeai.Request) fakeai.Reply {
		a := fakeai.Echo(r)
		if *answer != "" {
			a = fakeai.Text(*answer)
		}
		a.First, a.Between = *first, *pause
		return a
	}
	fmt.Println(s.Base())
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt)
	<-end
	s.CloseClientConnections()
	s.Close()
}
