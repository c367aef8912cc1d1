"""Many devices and many machines through Ray: what is ours of it, and the only import of it.

Ray places work, watches its workers and moves data. Ours is what work there is and what it needs
(``engine``, ``needs``, ``work``), the letters between workers and the run that keeps what they find
(``office``), and what to do when a worker is gone (``spread``). Nothing is imported here: what a
worker needs to begin with is small, and does not wait for torch.
"""
