"""`python -m experiments` is `unseen`, also on a node of a cluster, where no console script is installed."""

from experiments.cli import main

if __name__ == "__main__":
    main()
