"""Who a client is: credentials, and those who judge them."""
