function "web" {
  on   = vm.node
  exec = ["web"]
}
