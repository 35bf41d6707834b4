"""The API's side of staging: who may use which credential, and what of it goes to a worker."""
