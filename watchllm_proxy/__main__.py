"""`python -m watchllm_proxy`: the same as the console script `watchllm`."""

from watchllm_proxy.cli import main

main()
