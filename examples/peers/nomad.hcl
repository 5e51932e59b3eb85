# The settings with which the autoscaler of Nomad comes.
#
# One of several rules for the same function, to be compared on the same load:
#
#   flowctl simulate -shape=spike -compare=hpa.hcl -compare=kpa.hcl -compare=nomad.hcl ours.hcl

flow "peers" {}

vm "node" {
  cpus   = 16
  memory = "16GiB"
}

function "web" {
  on    = vm.node
  exec  = ["flowctl-demo", "fib"]
  image = "flowctl/demo:latest"
}

frontend "www" {
  listen = "127.0.0.1:8080"
  to     = function.web
}

scaling "web" {
  target = function.web
  min    = 2
  max    = 40
  every  = "10s"

  metric "rps" {
    target    = 50
    window    = "10s"
    aggregate = "last"

    burst {
      factor = 0
    }
  }

  up {
    tolerance = 0.01
    cooldown  = "5m"

    limit {
      replicas = 0
      percent  = 0
    }
  }

  down {
    tolerance = 0.01
    stabilise = "0s"
    cooldown  = "5m"

    limit {
      replicas = 0
      percent  = 0
    }
  }
}
