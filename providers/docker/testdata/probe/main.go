// Command probe is what the tests look out of a container with.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	switch os.Args[1] {
	case "serve": // prints a line to each stream, listens, and ends when asked to
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("to out")
		fmt.Fprintln(os.Stderr, "to err")
		fmt.Println(strings.Repeat("long ", 8000))
		if p := os.Getenv("PORT"); p != "" {
			l, err := net.Listen("tcp", ":"+p)
			check(err)
			go func() {
				for {
					c, err := l.Accept()
					check(err)
					c.Close()
				}
			}()
		}
		fmt.Println("ended by", <-asked)
	case "cat":
		b, err := os.ReadFile(os.Args[2])
		check(err)
		info, err := os.Stat(os.Args[2])
		check(err)
		fmt.Printf("%s %s", info.Mode().Perm(), b)
	case "write":
		check(os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o644))
	case "id":
		status, err := os.ReadFile("/proc/self/status")
		check(err)
		fmt.Println("uid", os.Getuid(), "gid", os.Getgid())
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "CapBnd") {
				fmt.Print(line)
			}
		}
	case "resolve":
		addrs, err := net.LookupHost(os.Args[2])
		check(err)
		fmt.Println(len(addrs), "addresses")
	case "echo":
		io.Copy(os.Stdout, os.Stdin)
	case "exit":
		var code int
		fmt.Sscan(os.Args[2], &code)
		os.Exit(code)
	case "exists":
		_, err := os.Stat(os.Args[2])
		check(err)
	case "spin":
		for {
		}
	case "fail":
		fmt.Fprintln(os.Stderr, "it cannot")
		os.Exit(9)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
