"""The first stage of the boot: it verifies the partition manager's image, and nothing of the manager runs before."""
