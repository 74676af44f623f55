"""The models of several seeds as one."""
