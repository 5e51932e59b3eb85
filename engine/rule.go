package engine

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Rule is what the type of an attribute does not tell of its values.
type Rule string

// The rules.
const (
	CommandRule Rule = "command" // a program and its arguments, as exec(2) takes them
	EnvRule     Rule = "env"     // environment variables, as environ(7) takes them
	FilledRule  Rule = "filled"  // a text that says something
	AccountRule Rule = "account" // a user's name, as useradd(8) takes it
)

// check reports what is wrong with a known value. Elements that are not known
// are passed over.
func (r Rule) check(v cty.Value) error {
	v, _ = v.UnmarkDeep()
	switch r {
	case "":
		return nil
	case CommandRule:
		return checkCommand(v)
	case EnvRule:
		return checkEnv(v)
	case FilledRule:
		if strings.TrimSpace(v.AsString()) == "" {
			return errors.New("the text is empty")
		}
		return nil
	case AccountRule:
		if !account.MatchString(v.AsString()) {
			return fmt.Errorf("%q is no name of a user: it has up to 32 small letters, digits, _ and -, and begins with a letter or _", v.AsString())
		}
		return nil
	default:
		panic("bug: unknown rule " + string(r))
	}
}

var account = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func checkCommand(v cty.Value) error {
	for it := v.ElementIterator(); it.Next(); {
		i, word := it.Element()
		switch {
		case !word.IsKnown() || word.IsNull():
		case i.AsBigFloat().Sign() == 0 && strings.TrimSpace(word.AsString()) == "":
			return errors.New("the program's name is empty: the first word of the list is the program, the others are its arguments")
		case strings.ContainsRune(word.AsString(), 0):
			return errors.New("a word has a zero byte in it, which no program can be given")
		}
	}
	return nil
}

func checkEnv(v cty.Value) error {
	for it := v.ElementIterator(); it.Next(); {
		k, text := it.Element()
		switch name := k.AsString(); {
		case name == "":
			return errors.New("a variable has no name")
		case strings.ContainsAny(name, "=\x00"):
			return fmt.Errorf("%q is no name of a variable: it must not contain \"=\" or a zero byte", name)
		case text.IsKnown() && !text.IsNull() && strings.ContainsRune(text.AsString(), 0):
			return fmt.Errorf("the value of %q has a zero byte in it, which no program can be given", name)
		}
	}
	return nil
}
