flow "shop" {
  provider = "sim"
}

vm "node" {
  count  = 2
  cpus   = 2
  memory = "2GiB"
  slots  = 6
}

function "web" {
  on       = vm.node
  replicas = 2
  exec     = ["web"]
  env      = { GREETING = "hello" }
}

frontend "www" {
  provider = "sim"
  listen   = "127.0.0.1:8080"
  to       = function.web
}
