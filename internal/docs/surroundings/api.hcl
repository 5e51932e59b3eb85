function "api" {
  on   = vm.node
  exec = ["api"]
}
