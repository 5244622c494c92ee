"""What is decided, by pure functions over values: nothing here touches the world."""
