package greeter.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Greets people.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class GreeterServiceGrpc {

  private GreeterServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "greeter.v1.GreeterService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetRequest,
      greeter.v1.Greeter.GreetResponse> getGreetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Greet",
      requestType = greeter.v1.Greeter.GreetRequest.class,
      responseType = greeter.v1.Greeter.GreetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetRequest,
      greeter.v1.Greeter.GreetResponse> getGreetMethod() {
    io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetRequest, greeter.v1.Greeter.GreetResponse> getGreetMethod;
    if ((getGreetMethod = GreeterServiceGrpc.getGreetMethod) == null) {
      synchronized (GreeterServiceGrpc.class) {
        if ((getGreetMethod = GreeterServiceGrpc.getGreetMethod) == null) {
          GreeterServiceGrpc.getGreetMethod = getGreetMethod =
              io.grpc.MethodDescriptor.<greeter.v1.Greeter.GreetRequest, greeter.v1.Greeter.GreetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Greet"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  greeter.v1.Greeter.GreetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  greeter.v1.Greeter.GreetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new GreeterServiceMethodDescriptorSupplier("Greet"))
              .build();
        }
      }
    }
    return getGreetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetOftenRequest,
      greeter.v1.Greeter.GreetOftenResponse> getGreetOftenMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GreetOften",
      requestType = greeter.v1.Greeter.GreetOftenRequest.class,
      responseType = greeter.v1.Greeter.GreetOftenResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetOftenRequest,
      greeter.v1.Greeter.GreetOftenResponse> getGreetOftenMethod() {
    io.grpc.MethodDescriptor<greeter.v1.Greeter.GreetOftenRequest, greeter.v1.Greeter.GreetOftenResponse> getGreetOftenMethod;
    if ((getGreetOftenMethod = GreeterServiceGrpc.getGreetOftenMethod) == null) {
      synchronized (GreeterServiceGrpc.class) {
        if ((getGreetOftenMethod = GreeterServiceGrpc.getGreetOftenMethod) == null) {
          GreeterServiceGrpc.getGreetOftenMethod = getGreetOftenMethod =
              io.grpc.MethodDescriptor.<greeter.v1.Greeter.GreetOftenRequest, greeter.v1.Greeter.GreetOftenResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GreetOften"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  greeter.v1.Greeter.GreetOftenRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  greeter.v1.Greeter.GreetOftenResponse.getDefaultInstance()))
              .setSchemaDescriptor(new GreeterServiceMethodDescriptorSupplier("GreetOften"))
              .build();
        }
      }
    }
    return getGreetOftenMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static GreeterServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<GreeterServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<GreeterServiceStub>() {
        @java.lang.Override
        public GreeterServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new GreeterServiceStub(channel, callOptions);
        }
      };
    return GreeterServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static GreeterServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<GreeterServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<GreeterServiceBlockingV2Stub>() {
        @java.lang.Override
        public GreeterServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new GreeterServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return GreeterServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static GreeterServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<GreeterServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<GreeterServiceBlockingStub>() {
        @java.lang.Override
        public GreeterServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new GreeterServiceBlockingStub(channel, callOptions);
        }
      };
    return GreeterServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static GreeterServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<GreeterServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<GreeterServiceFutureStub>() {
        @java.lang.Override
        public GreeterServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new GreeterServiceFutureStub(channel, callOptions);
        }
      };
    return GreeterServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Greets people.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Greets somebody. Calls with the same order are one task, and nobody is greeted more than five times a second.
     * Errors: INVALID_ARGUMENT when the request has no name; UNAVAILABLE for Grumpy, two times of three: it is retried.
     * </pre>
     */
    default void greet(greeter.v1.Greeter.GreetRequest request,
        io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGreetMethod(), responseObserver);
    }

    /**
     * <pre>
     * Greets somebody several times, one response each.
     * Errors: as Greet.
     * </pre>
     */
    default void greetOften(greeter.v1.Greeter.GreetOftenRequest request,
        io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetOftenResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGreetOftenMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service GreeterService.
   * <pre>
   * Greets people.
   * </pre>
   */
  public static abstract class GreeterServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return GreeterServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service GreeterService.
   * <pre>
   * Greets people.
   * </pre>
   */
  public static final class GreeterServiceStub
      extends io.grpc.stub.AbstractAsyncStub<GreeterServiceStub> {
    private GreeterServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected GreeterServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new GreeterServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Greets somebody. Calls with the same order are one task, and nobody is greeted more than five times a second.
     * Errors: INVALID_ARGUMENT when the request has no name; UNAVAILABLE for Grumpy, two times of three: it is retried.
     * </pre>
     */
    public void greet(greeter.v1.Greeter.GreetRequest request,
        io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGreetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Greets somebody several times, one response each.
     * Errors: as Greet.
     * </pre>
     */
    public void greetOften(greeter.v1.Greeter.GreetOftenRequest request,
        io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetOftenResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getGreetOftenMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service GreeterService.
   * <pre>
   * Greets people.
   * </pre>
   */
  public static final class GreeterServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<GreeterServiceBlockingV2Stub> {
    private GreeterServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected GreeterServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new GreeterServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Greets somebody. Calls with the same order are one task, and nobody is greeted more than five times a second.
     * Errors: INVALID_ARGUMENT when the request has no name; UNAVAILABLE for Grumpy, two times of three: it is retried.
     * </pre>
     */
    public greeter.v1.Greeter.GreetResponse greet(greeter.v1.Greeter.GreetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGreetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Greets somebody several times, one response each.
     * Errors: as Greet.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, greeter.v1.Greeter.GreetOftenResponse>
        greetOften(greeter.v1.Greeter.GreetOftenRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getGreetOftenMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service GreeterService.
   * <pre>
   * Greets people.
   * </pre>
   */
  public static final class GreeterServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<GreeterServiceBlockingStub> {
    private GreeterServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected GreeterServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new GreeterServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Greets somebody. Calls with the same order are one task, and nobody is greeted more than five times a second.
     * Errors: INVALID_ARGUMENT when the request has no name; UNAVAILABLE for Grumpy, two times of three: it is retried.
     * </pre>
     */
    public greeter.v1.Greeter.GreetResponse greet(greeter.v1.Greeter.GreetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGreetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Greets somebody several times, one response each.
     * Errors: as Greet.
     * </pre>
     */
    public java.util.Iterator<greeter.v1.Greeter.GreetOftenResponse> greetOften(
        greeter.v1.Greeter.GreetOftenRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getGreetOftenMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service GreeterService.
   * <pre>
   * Greets people.
   * </pre>
   */
  public static final class GreeterServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<GreeterServiceFutureStub> {
    private GreeterServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected GreeterServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new GreeterServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Greets somebody. Calls with the same order are one task, and nobody is greeted more than five times a second.
     * Errors: INVALID_ARGUMENT when the request has no name; UNAVAILABLE for Grumpy, two times of three: it is retried.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<greeter.v1.Greeter.GreetResponse> greet(
        greeter.v1.Greeter.GreetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGreetMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_GREET = 0;
  private static final int METHODID_GREET_OFTEN = 1;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_GREET:
          serviceImpl.greet((greeter.v1.Greeter.GreetRequest) request,
              (io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetResponse>) responseObserver);
          break;
        case METHODID_GREET_OFTEN:
          serviceImpl.greetOften((greeter.v1.Greeter.GreetOftenRequest) request,
              (io.grpc.stub.StreamObserver<greeter.v1.Greeter.GreetOftenResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getGreetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              greeter.v1.Greeter.GreetRequest,
              greeter.v1.Greeter.GreetResponse>(
                service, METHODID_GREET)))
        .addMethod(
          getGreetOftenMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              greeter.v1.Greeter.GreetOftenRequest,
              greeter.v1.Greeter.GreetOftenResponse>(
                service, METHODID_GREET_OFTEN)))
        .build();
  }

  private static abstract class GreeterServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    GreeterServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return greeter.v1.Greeter.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("GreeterService");
    }
  }

  private static final class GreeterServiceFileDescriptorSupplier
      extends GreeterServiceBaseDescriptorSupplier {
    GreeterServiceFileDescriptorSupplier() {}
  }

  private static final class GreeterServiceMethodDescriptorSupplier
      extends GreeterServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    GreeterServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (GreeterServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new GreeterServiceFileDescriptorSupplier())
              .addMethod(getGreetMethod())
              .addMethod(getGreetOftenMethod())
              .build();
        }
      }
    }
    return result;
  }
}
