"""A real Kubernetes below the emulator's EKS.

machine      what this machine can run, and the program that holds Kubernetes' servers
supervisor   a process that starts the cluster in namespaces of its own, and ends with the process that started it
node/        what runs in those namespaces: mounts, network, certificates, the servers
forward      connections between the machine's loopback and the cluster's network
"""
