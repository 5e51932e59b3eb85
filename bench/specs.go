package main

import (
	"fmt"
	"strings"
)

// shape is a kind of flow, in both languages: n resources that make nothing.
type shape struct {
	name      string
	flowctl   func(n int) string
	terraform func(n int) string
}

// layers is how many a layered flow has; each resource refers to two of the layer
// before.
const layers = 10

var (
	flat    = shape{"flat", flatFlow, flatTerraform}
	layered = shape{"layered", layeredFlow, layeredTerraform}
	chain   = shape{"chain", chainFlow, chainTerraform}
)

const flowHead = "flow \"bench\" {\n  provider = \"sim\"\n}\n\n"

func flatFlow(n int) string {
	return flowHead + fmt.Sprintf("vm \"n\" {\n  count  = %d\n  cpus   = 1\n  memory = \"1GiB\"\n}\n", n)
}

func flatTerraform(n int) string {
	return fmt.Sprintf("resource \"terraform_data\" \"n\" {\n  count = %d\n  input = \"1GiB\"\n}\n", n)
}

// neighbours are the locals of a layered flow: the keys of a layer, and for each
// key the next one. range makes 1024 numbers at most, so a layer is counted in rows.
func neighbours(n int) string {
	width := n / layers
	row := min(width, 1000)
	return fmt.Sprintf(`locals {
  all  = flatten([for r in range(%d) : [for i in range(%d) : r * %[2]d + i]])
  keys = toset([for i in local.all : "k${i}"])
  next = { for i in local.all : "k${i}" => "k${(i + 1) %% %d}" }
}

`, width/row, row, width)
}

func layeredFlow(n int) string {
	var b strings.Builder
	b.WriteString(flowHead + neighbours(n))
	for l := range layers {
		fmt.Fprintf(&b, "vm \"l%d\" {\n  for_each = local.keys\n  cpus     = 1\n  memory   = \"1GiB\"\n", l)
		if l > 0 {
			fmt.Fprintf(&b, "  labels   = { a = vm.l%[1]d[each.key][0].id, b = vm.l%[1]d[local.next[each.key]][0].id }\n", l-1)
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}

func layeredTerraform(n int) string {
	var b strings.Builder
	b.WriteString(neighbours(n))
	for l := range layers {
		fmt.Fprintf(&b, "resource \"terraform_data\" \"l%d\" {\n  for_each = local.keys\n", l)
		if l > 0 {
			fmt.Fprintf(&b, "  input = [terraform_data.l%[1]d[each.key].id, terraform_data.l%[1]d[local.next[each.key]].id]\n", l-1)
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}

func chainFlow(n int) string {
	var b strings.Builder
	b.WriteString(flowHead)
	for i := range n {
		fmt.Fprintf(&b, "vm \"c%d\" {\n  cpus   = 1\n  memory = \"1GiB\"\n", i)
		if i > 0 {
			fmt.Fprintf(&b, "  labels = { p = vm.c%d[0].id }\n", i-1)
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}

func chainTerraform(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "resource \"terraform_data\" \"c%d\" {\n", i)
		if i > 0 {
			fmt.Fprintf(&b, "  input = terraform_data.c%d.id\n", i-1)
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}
