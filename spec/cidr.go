package spec

import (
	"fmt"
	"math/big"
	"net"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// The cidr functions work on address ranges as Terraform's do.

func prefixOf(v cty.Value) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v.AsString())
	if err != nil {
		return p, function.NewArgErrorf(0, "%q is no address range: write one such as \"10.0.0.0/16\"", v.AsString())
	}
	return p.Masked(), nil
}

// shifted returns the address n places after (or if negative, before the end of)
// a range with room for 1<<bits places of 1<<unit addresses each.
func shifted(p netip.Prefix, n *big.Int, bits, unit int) (netip.Addr, error) {
	room := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, room)
	}
	if n.Sign() < 0 || n.Cmp(room) >= 0 {
		return netip.Addr{}, fmt.Errorf("%s has room for %s, counted from 0", p, room)
	}
	at := new(big.Int).SetBytes(p.Addr().AsSlice())
	at.Add(at, new(big.Int).Lsh(n, uint(unit)))
	raw := make([]byte, p.Addr().BitLen()/8)
	addr, _ := netip.AddrFromSlice(at.FillBytes(raw))
	return addr, nil
}

func bigInt(arg int, v cty.Value) (*big.Int, error) {
	if !v.AsBigFloat().IsInt() {
		return nil, function.NewArgErrorf(arg, "a whole number is needed")
	}
	n, _ := v.AsBigFloat().Int(nil)
	return n, nil
}

// cidrHostFunc is cidrhost("10.0.0.0/8", 5) = "10.0.0.5".
var cidrHostFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "number", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		p, err := prefixOf(args[0])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		n, err := bigInt(1, args[1])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		addr, err := shifted(p, n, p.Addr().BitLen()-p.Bits(), 0)
		if err != nil {
			return cty.UnknownVal(t), function.NewArgError(1, err)
		}
		return cty.StringVal(addr.String()), nil
	},
})

// cidrSubnetFunc is cidrsubnet("10.0.0.0/8", 8, 2) = "10.2.0.0/16".
var cidrSubnetFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "newbits", Type: cty.Number}, {Name: "number", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		p, err := prefixOf(args[0])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		bits, err := wholeNumber(1, args[1])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		unit := p.Addr().BitLen() - p.Bits() - bits
		if unit < 0 {
			return cty.UnknownVal(t), function.NewArgErrorf(1, "%s has only %d bits left", p, p.Addr().BitLen()-p.Bits())
		}
		n, err := bigInt(2, args[2])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		addr, err := shifted(p, n, bits, unit)
		if err != nil {
			return cty.UnknownVal(t), function.NewArgError(2, err)
		}
		return cty.StringVal(netip.PrefixFrom(addr, p.Bits()+bits).String()), nil
	},
})

// cidrNetmaskFunc is cidrnetmask("10.0.0.0/8") = "255.0.0.0".
var cidrNetmaskFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "prefix", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		p, err := prefixOf(args[0])
		if err != nil {
			return cty.UnknownVal(t), err
		}
		if !p.Addr().Is4() {
			return cty.UnknownVal(t), function.NewArgErrorf(0, "only IPv4 ranges have a netmask")
		}
		return cty.StringVal(net.IP(net.CIDRMask(p.Bits(), 32)).String()), nil
	},
})
