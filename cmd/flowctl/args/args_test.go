package args_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
)

func TestNormalise(t *testing.T) {
	known := func(name string) bool {
		return slices.Contains([]string{"auto-approve", "var", "out", "json", "f"}, name)
	}
	for in, want := range map[string]string{
		"apply -auto-approve x.hcl":    "apply --auto-approve x.hcl",
		"apply --auto-approve x.hcl":   "apply --auto-approve x.hcl",
		"plan -var=a=-b -out=p":        "plan --var=a=-b --out=p",
		"plan -var a=b":                "plan --var a=b",
		"logs -f function.web[0]":      "logs -f function.web[0]",
		"exec function.web[0] -- -out": "exec function.web[0] -- -out",
		"exec -it x":                   "exec -it x",
		"plan - -":                     "plan - -",
	} {
		if got := strings.Join(args.Normalise(strings.Fields(in), known), " "); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
