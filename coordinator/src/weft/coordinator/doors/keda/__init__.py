"""KEDA's external scaler: deployments and jobs of agents grow with the tasks that wait, and go to zero when there are none."""
