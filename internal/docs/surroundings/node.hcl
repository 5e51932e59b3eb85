vm "node" {
  cpus   = 4
  memory = "4GiB"
}
