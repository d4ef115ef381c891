"""What every gRPC end of weft shares: errors, channel options, metadata, trace context, times."""
