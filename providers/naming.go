package providers

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// Name returns the outside name of an object: the same for the same address and
// generation, different for all others of one kind in a flow, and safe as a
// file, host or container name: letters, digits, ".", "_" and "-".
//
//	function.web[3]          web-3
//	function.web[3], gen. 2  web-3.2
//	function.web["eu/1"][0]  web-eu-1-0-4f1c
func Name(a engine.Address, gen int) string {
	name := a.Name
	hash := ""
	if a.Key != "" {
		clean := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return '-'
		}, a.Key)
		// A key may look like an index or like another key once it is cleaned.
		h := fnv.New32a()
		h.Write([]byte(a.Key))
		hash = fmt.Sprintf("-%04x", h.Sum32()&0xffff)
		name += "-" + clean[:min(len(clean), 40)]
	}
	if n, ok := a.Index(); ok {
		name += fmt.Sprintf("-%d", n)
	}
	name += hash
	if gen > 1 {
		name += fmt.Sprintf(".%d", gen)
	}
	return name
}
