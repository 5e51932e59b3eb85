flow "shop" {
  provider = "sim"
}

vm "node" {
  count  = 2
  cpus   = 2
  memory = "1GiB"
  slots  = 6
}

function "web" {
  on       = vm.node
  replicas = 4
  exec     = ["web"]
  env      = { GREETING = "good morning" }
}

frontend "www" {
  provider = "sim"
  listen   = "127.0.0.1:8080"
  to       = function.web
}
