"""Strategies by name."""

STRATEGIES = {
    "majority": "strategies.baselines:Majority",
    "lda": "strategies.classical:LDA",
    "tangent_space": "strategies.classical:TangentSpace",
    "pooled": "strategies.pooled:Pooled",
    "fedavg": "strategies.federated.fedavg:FedAvg",
    "finetuning": "strategies.continual.finetuning:FineTuning",
}
