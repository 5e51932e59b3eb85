package libvirt

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// acquaintance is the script that reads and writes what a machine knows of a cluster.
// What makes a machine itself, and so must not be in a clone of it, /etc/identity of
// the small machine removes (hack/guest): the keys of its ssh server and its user,
// which are made anew, and all that this script wrote.
//
//go:embed cluster.sh
var acquaintance string

// Greet implements providers.Introducer.
func (l *Libvirt) Greet(ctx context.Context, o engine.Object, cluster, user string, mint bool) (providers.Greeting, error) {
	var g providers.Greeting
	answer := "no"
	if mint {
		answer = "yes"
	}
	text, err := l.acquaint(ctx, o, nil, "greet", cluster, user, answer)
	if err != nil {
		return g, err
	}
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "hostname":
			g.Hostname = rest
		case "key":
			g.Key = rest
		case "host":
			g.HostKeys = append(g.HostKeys, rest)
		case "member":
			g.Knows.Members = append(g.Knows.Members, rest)
		case "hosts":
			g.Knows.Hosts = append(g.Knows.Hosts, rest)
		case "authorized":
			g.Knows.Authorized = append(g.Knows.Authorized, rest)
		case "known":
			g.Knows.Known = append(g.Knows.Known, rest)
		}
	}
	return g, nil
}

// Introduce implements providers.Introducer.
func (l *Libvirt) Introduce(ctx context.Context, o engine.Object, cluster, user string, r providers.Roster) error {
	var input strings.Builder
	for _, part := range []struct {
		word  string
		lines []string
	}{{"member", r.Members}, {"hosts", r.Hosts}, {"authorized", r.Authorized}, {"known", r.Known}} {
		for _, line := range part.lines {
			fmt.Fprintf(&input, "%s %s\n", part.word, line)
		}
	}
	_, err := l.acquaint(ctx, o, []byte(input.String()), "introduce", cluster, user, "no")
	return err
}

// acquaint runs the script in a machine. A machine that has just started is given
// time to start its agent.
func (l *Libvirt) acquaint(ctx context.Context, o engine.Object, input []byte, act, cluster, user, mint string) (string, error) {
	h, domain, err := l.running(o)
	if err != nil {
		return "", err
	}
	if h.Simulated() {
		return "", providers.Permanent(errors.New("the machines of libvirt's own driver for tests have no guests"))
	}
	if err := awake(ctx, h, domain); err != nil {
		return "", err
	}
	return inGuest(ctx, h, domain, input, acquaintance, act, l.settings.Flow+"."+cluster, user, mint)
}
