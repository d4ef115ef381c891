"""Who may call this coordinator: the tokens in the store, and the service that makes and revokes them."""
