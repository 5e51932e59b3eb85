flow "typo" {}

vm "node" {
  cpus   = 2
  memory = "much"
}

function "web" {
  on      = vm.nod
  replcas = 3
  exec    = ["web"]
}
