"""Data sets by name. A new one is one file beside this one, and one line here."""

DATASETS = {
    "eegmat": "benchmarks.datasets.eegmat:Eegmat",
    "stress_predict": "benchmarks.datasets.stress_predict:StressPredict",
    "dreamer": "benchmarks.datasets.dreamer:Dreamer",
    "seed": "benchmarks.datasets.seed:Seed",
    "seed_features": "benchmarks.datasets.seed_features:SeedFeatures",
    "e4": "benchmarks.datasets.wristband:Wristband",
    "table": "benchmarks.datasets.feature_table:FeatureTable",
    "simulated": "benchmarks.datasets.simulated:Simulated",
}
