# The settings with which the autoscaler of Knative comes.
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
  every  = "2s"

  metric "rps" {
    target = 50
    window = "1m"

    burst {
      window = "6s"
      factor = 2
      hold   = "1m"
    }
  }

  up {
    tolerance = 0

    limit {
      percent = 100000
      per     = "2s"
    }
  }

  down {
    tolerance = 0
    cooldown  = "0s"
    stabilise = "0s"

    limit {
      percent = 50
      per     = "2s"
    }
  }
}
