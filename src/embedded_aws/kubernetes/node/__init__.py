"""What runs in the cluster's own namespaces, where every process and mount ends with the first process.

main           the first process: prepares the namespaces, starts the servers, reports when the node is ready
servers        the command lines and files of etcd, containerd and Kubernetes' own servers
certificates   keys, certificates and tokens
network        addresses
mounts         mounts and control groups
pause          the image that holds a pod's namespaces
"""
