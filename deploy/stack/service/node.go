package service

import (
	"net"
	"slices"
	"strconv"
)

// firstHost is the address of whatever there is one of.
const firstHost = "127.0.0.1"

// node is one of several processes that are one engine together. Each has a loopback
// address of its own, so that all of them have the same ports.
type node struct {
	number int // from 1
	host   string
}

var firstNode = node{1, firstHost}

// nodes are the first n.
func nodes(n int) []node {
	all := []node{firstNode}
	for number := 2; number <= n; number++ {
		all = append(all, node{number, "127.0.0." + strconv.Itoa(number)})
	}
	return all
}

// Hosts are the addresses of this machine that a stack of n nodes takes.
func Hosts(n int) []string {
	var hosts []string
	for _, one := range nodes(n) {
		hosts = append(hosts, one.host)
	}
	return hosts
}

// name is that of the service which is this node of an engine: kafka, kafka-2, kafka-3.
func (n node) name(engine string) string {
	if n.number == 1 {
		return engine
	}
	return engine + "-" + strconv.Itoa(n.number)
}

func (n node) address(port int) string { return net.JoinHostPort(n.host, strconv.Itoa(port)) }

// together makes a service of each node, which start with one another.
func together(nodes []node, build func(node) *Service) []*Service {
	var services []*Service
	var names []string
	for _, n := range nodes {
		s := build(n)
		s.Host = n.host
		services, names = append(services, s), append(names, s.Name)
	}
	for _, s := range services {
		s.With = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == s.Name })
	}
	return services
}
