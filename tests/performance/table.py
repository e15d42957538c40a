"""Benchmarks by name."""

ENTRIES = {
    "w_process": "tests.performance.entries.w_process:measure",
    "w_warm": "tests.performance.entries.w_warm:measure",
    "loso_warm": "tests.performance.entries.loso_warm:measure",
    "loso_process": "tests.performance.entries.loso_process:measure",
    "loso_pfl": "tests.performance.entries.loso_pfl:measure",
    "eegmat": "tests.performance.entries.eegmat:measure",
    "encoders": "tests.performance.entries.encoders:measure",
    "scaling": "tests.performance.entries.scaling:measure",
    "workers": "tests.performance.entries.workers:measure",
    "continual_minibatch": "tests.performance.entries.continual_minibatch:measure",
    "continual_subjects": "tests.performance.entries.continual_subjects:measure",
    "continual_stacked": "tests.performance.entries.continual_stacked:measure",
    "continual_study": "tests.performance.entries.continual_study:measure",
}
