flow "example" {}
