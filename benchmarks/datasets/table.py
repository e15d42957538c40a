"""Data sets by name. A new one is one file beside this one, and one line here."""

DATASETS = {
    "eegmat": "benchmarks.datasets.eegmat:Eegmat",
    "stress_predict": "benchmarks.datasets.stress_predict:StressPredict",
    "e4": "benchmarks.datasets.wristband:Wristband",
    "table": "benchmarks.datasets.feature_table:FeatureTable",
    "simulated": "benchmarks.datasets.simulated:Simulated",
}
