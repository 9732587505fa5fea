"""EKS: a real Kubernetes, to which tokens of IAM admit, and which runs images of the emulator's ECR.

eks          EKS's clusters: created, described, deleted, started again with the emulator
rights       EKS's access policies as roles of the cluster
agents       what containers log, and Container Insights' metrics of pods, in CloudWatch
launch       a cluster's supervisor: started, ended
machine      which way this machine has to a cluster, and the program that holds Kubernetes' servers
k3s          a cluster in a container of k3s, which docker or podman runs
existing     a cluster that a kubeconfig names, with IAM's tokens checked in front of it
supervisor   the process that starts a cluster in namespaces of its own, and ends with the process that started it
node/        what runs in those namespaces: mounts, network, certificates, the servers
gateway/     carries out the routes of the Gateway API, on loopback
forward      connections between the machine's loopback and the cluster's network
api          a client of the cluster's API
"""
