"""The worker: slots, trial runner, lease renewal and the supervisor's end of the trainer process."""
