"""`weft operator`: pools of agents as resources of Kubernetes, `WeftAgentPool`, each a Deployment whose size follows the mesh's queues.

agent_pool      what a resource says                                       pure
pool_work       how much work there is for its agents                      pure, and one question to the coordinator
pool_size       how many agents that is, and how slowly they become fewer  pure
agent_pool_plan the Deployment that is wanted                              pure
pool_status     what the resource's status says                            pure
cluster_api     requests to the Kubernetes API
object_watch    a collection of objects, as the API has it now
leader_lease    which of several operators acts
pool_operator   the loop over all of these
"""
