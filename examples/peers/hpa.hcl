# The settings with which the horizontal pod autoscaler of Kubernetes comes.
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
  every  = "15s"

  metric "rps" {
    target = 50
    window = "15s"

    burst {
      factor = 0
    }
  }

  up {
    tolerance = 0.1

    limit {
      replicas = 4
      percent  = 100
      per      = "15s"
    }
  }

  down {
    tolerance = 0.1
    cooldown  = "0s"
    stabilise = "5m"

    limit {
      percent = 100
      per     = "15s"
    }
  }
}
